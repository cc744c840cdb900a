"""Publish a weight: the card, its folder, and the commit."""
