"""Other people's checkpoints → the zoo's names and keys: timm's and torchvision's ResNets."""
