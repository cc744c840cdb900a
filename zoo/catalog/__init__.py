"""All of registry.yaml: its schema, where weights lie, the catalog of all installed files, and pins."""
