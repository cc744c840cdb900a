"""Built-in encoders, registered in pyproject.toml under `zoo.encoders`."""
