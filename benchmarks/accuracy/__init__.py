"""The paper's accuracy tables at any budget: `python -m benchmarks.accuracy`."""
