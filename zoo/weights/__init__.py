"""Weights: find the record, fetch the bytes, verify, load. Hash first, then safetensors, then a strict match."""

from zoo.weights.find import Found, find_listed, find_weight, parse_typed
from zoo.weights.hub_client import HubAccess
from zoo.weights.load import adapt_channels, check_before_allocation, count_classes, load_state, load_weight
from zoo.weights.pretrained_cfg import default_labels, describe, describe_published, preprocessing_of_published
from zoo.weights.published import read_published
from zoo.weights.read import parse_weight, read_plain_file, read_weight

__all__ = [
    "Found",
    "HubAccess",
    "adapt_channels",
    "check_before_allocation",
    "count_classes",
    "default_labels",
    "describe",
    "describe_published",
    "find_listed",
    "find_weight",
    "load_state",
    "load_weight",
    "parse_typed",
    "parse_weight",
    "preprocessing_of_published",
    "read_plain_file",
    "read_published",
    "read_weight",
]
