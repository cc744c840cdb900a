"""Publishing: a weight's folder with its card, checked on this machine first, then one commit."""

from zoo.hub.assemble import assemble
from zoo.hub.publish import Published, check_token, publish

__all__ = ["Published", "assemble", "check_token", "publish"]
