"""Weights: find the record, fetch the bytes, verify, load. Hash first, then safetensors, then a strict match."""

from zoo.weights.access import HubAccess
from zoo.weights.describing import describe
from zoo.weights.finding import Found, find_listed, find_weight
from zoo.weights.loading import adapt_channels, check_before_allocation, count_classes, load_state, load_weight
from zoo.weights.reading import parse_weight, read_plain_file, read_weight

__all__ = [
    "Found",
    "HubAccess",
    "adapt_channels",
    "check_before_allocation",
    "count_classes",
    "describe",
    "find_listed",
    "find_weight",
    "load_state",
    "load_weight",
    "parse_weight",
    "read_plain_file",
    "read_weight",
]
