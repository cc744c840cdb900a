"""Built-in neurons, registered in pyproject.toml under `zoo.neurons`."""
