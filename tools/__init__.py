"""Tools for the maintainers of a catalog; not part of the wheel."""
