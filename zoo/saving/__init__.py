"""A network as a folder that loads: its weights, its record, its config. Needs no Hub."""
