"""A folder of static pages that show every weight of the catalogs, and their figures as files."""
