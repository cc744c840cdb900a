"""Time and memory of a step on a GPU: `python -m benchmarks.gpu_speed`."""
