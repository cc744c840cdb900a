"""Publishing: a weight's folder with its card, checked on this machine first, then one commit, then its pin."""

from zoo.catalog.pins import check_pin, write_pin
from zoo.hub.assemble import assemble
from zoo.hub.publish import Published, check_token, publish

__all__ = ["Published", "assemble", "check_pin", "check_token", "publish", "write_pin"]
