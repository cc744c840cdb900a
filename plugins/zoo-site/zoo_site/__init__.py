"""The site: a folder of static pages that shows every weight of the catalogs, and their figures as files."""
