"""A trained network at work: predictions, pictures, evaluation."""
