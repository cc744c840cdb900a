"""Networks for other runtimes: whole as ONNX, their spiking blocks as NIR. Needs `pip install 'has8-zoo[export]'`."""

from zoo.exporting.network import network_to_export
from zoo.exporting.nir_folder import ExportedBlock, ExportedBlocks, check_nir_target, export_nir
from zoo.exporting.onnx_file import Exported, check_onnx_target, describe_onnx, export_onnx, to_onnx
from zoo.exporting.onnx_rates import TellingNetwork, onnx_with_rates

__all__ = [
    "Exported",
    "ExportedBlock",
    "ExportedBlocks",
    "TellingNetwork",
    "check_nir_target",
    "check_onnx_target",
    "describe_onnx",
    "export_nir",
    "export_onnx",
    "network_to_export",
    "onnx_with_rates",
    "to_onnx",
]
