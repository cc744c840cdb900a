"""Later work of HAS-8's authors: codes joined with bit planes, and the transfer from direct coding to spikes."""

from zoo_luu.transfer import RECIPE as RECIPE
from zoo_luu.transfer import with_encoder as with_encoder
