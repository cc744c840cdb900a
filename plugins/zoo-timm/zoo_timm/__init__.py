"""timm's networks behind the zoo's contract, and converters of timm's and torchvision's ResNets."""
