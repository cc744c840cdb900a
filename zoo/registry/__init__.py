"""Entry points become components, each imported when it is first used."""
