"""Recipes, packed data and the loop that trained the bundled weight; needs the extra `train`."""
