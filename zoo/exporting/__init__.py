"""Networks for other runtimes, as ONNX. Needs `pip install 'has8-zoo[export]'`; NIR comes with zoo-nir."""

from zoo.exporting.onnx_file import (
    Exported,
    Normalised,
    check_onnx_target,
    describe_network,
    describe_onnx,
    example_images,
    export_onnx,
    network_to_export,
    to_onnx,
    writing_to,
)

__all__ = [
    "Exported",
    "Normalised",
    "check_onnx_target",
    "describe_network",
    "describe_onnx",
    "example_images",
    "export_onnx",
    "network_to_export",
    "to_onnx",
    "writing_to",
]
