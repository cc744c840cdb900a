"""Networks for other runtimes, as ONNX: the command `zoo export`. NIR comes with zoo-nir."""

from zoo_export.onnx_file import Exported as Exported
from zoo_export.onnx_file import Normalised as Normalised
from zoo_export.onnx_file import describe_network as describe_network
from zoo_export.onnx_file import describe_onnx as describe_onnx
from zoo_export.onnx_file import example_images as example_images
from zoo_export.onnx_file import export_onnx as export_onnx
from zoo_export.onnx_file import network_to_export as network_to_export
from zoo_export.onnx_file import to_onnx as to_onnx
