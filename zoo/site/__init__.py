"""The site: a folder of static pages that shows every weight of the catalogs, and their figures as files."""

from zoo.site.build import Site, build_site

__all__ = ["Site", "build_site"]
