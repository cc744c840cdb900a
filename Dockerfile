# README's two commands in python:3.11-slim, which has no compiler; `--build-arg COMPILER=gcc` adds one.
#
#   docker build -t zoo . && docker run --rm zoo                             classifies the bundled photograph
#   docker build -t zoo-tests --target tests . && docker run --rm zoo-tests  runs the tests
FROM python:3.11-slim AS environment
ARG COMPILER=""
RUN if [ -n "$COMPILER" ]; then \
      apt-get update && apt-get install -y --no-install-recommends "$COMPILER" libc6-dev && rm -rf /var/lib/apt/lists/*; \
    fi
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /has8-zoo
RUN python3 -m venv .venv
# Without CUDA, which would be gigabytes; leave this out on a machine with a GPU.
RUN .venv/bin/pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu
COPY . .

FROM environment AS tests
RUN .venv/bin/pip install --quiet -r requirements-test.txt
CMD [".venv/bin/python", "-m", "pytest", "-n", "2", "--dist", "loadfile"]

FROM environment
RUN .venv/bin/pip install .
ENTRYPOINT [".venv/bin/zoo"]
CMD ["predict"]
