"""Built-in backbones, registered in pyproject.toml under `zoo.backbones`."""
