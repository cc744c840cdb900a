"""Entry points become components; what to install for one that is missing."""
