"""Weights trained on events of images, listed in the registry.yaml beside this file."""
