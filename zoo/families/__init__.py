"""Built-in families, registered in pyproject.toml under `zoo.families`."""
