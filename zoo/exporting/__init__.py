"""Networks for other runtimes, as ONNX. Needs `pip install 'has8-zoo[export]'`; NIR comes with zoo-nir."""

from zoo.exporting.onnx_file import (
    Exported,
    Normalised,
    describe_network,
    describe_onnx,
    example_images,
    export_onnx,
    network_to_export,
    to_onnx,
)

__all__ = [
    "Exported",
    "Normalised",
    "describe_network",
    "describe_onnx",
    "example_images",
    "export_onnx",
    "network_to_export",
    "to_onnx",
]
