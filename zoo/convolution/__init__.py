"""Convolutions that go around faults of torch's CPU kernels, weights in oneDNN's order, and the order of maps."""
