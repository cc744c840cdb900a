"""Weights trained on CIFAR-10, listed in the registry.yaml beside this file."""
