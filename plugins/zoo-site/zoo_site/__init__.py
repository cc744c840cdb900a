"""The site: a folder of static pages that shows every weight of the catalogs, and their figures as files."""

from zoo.site.build import Site, build_site
from zoo.site.demo import Demo, make_demo

__all__ = ["Demo", "Site", "build_site", "make_demo"]
