"""Networks for other runtimes, as ONNX. Needs `pip install 'has8-zoo[export]'`; NIR comes with zoo-nir."""

from zoo.exporting.onnx_file import Exported as Exported
from zoo.exporting.onnx_file import Normalised as Normalised
from zoo.exporting.onnx_file import describe_network as describe_network
from zoo.exporting.onnx_file import describe_onnx as describe_onnx
from zoo.exporting.onnx_file import example_images as example_images
from zoo.exporting.onnx_file import export_onnx as export_onnx
from zoo.exporting.onnx_file import network_to_export as network_to_export
from zoo.exporting.onnx_file import to_onnx as to_onnx
