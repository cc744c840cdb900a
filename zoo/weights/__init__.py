"""Where the tensors of a network come from: find, fetch, verify, load."""
