"""Networks for other runtimes, as ONNX: the command `zoo export`. NIR comes with zoo-nir."""
