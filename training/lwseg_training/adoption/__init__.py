"""From an ONNX file that others exported to a model file."""
