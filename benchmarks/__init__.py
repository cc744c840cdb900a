"""The measurements that the README quotes; each is run from the project's root as `python -m benchmarks.NAME`."""
