"""A trained network at work: predictions, pictures, evaluation."""

# Defaults that the command line shows without importing torch.
COMPARED_ON = 64  # images that `zoo compare` counts spikes and energy on
PREDICTED_AT_ONCE = 32  # images that `zoo predict` sends through the network at once
