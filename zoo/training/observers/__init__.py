"""Who is told of the progress of a training."""
