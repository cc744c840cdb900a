"""Converters of timm's and torchvision's ResNets to the zoo's names and keys."""
