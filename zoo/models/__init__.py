"""Composing networks by name, and describing them."""
