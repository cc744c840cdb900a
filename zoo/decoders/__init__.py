"""Built-in decoders, registered in pyproject.toml under `zoo.decoders`."""
