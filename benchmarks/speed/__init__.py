"""Time and memory of a step: `python -m benchmarks.speed`."""
