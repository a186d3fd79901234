"""How graphs of convolutions run without PyTorch.

`graph` builds ONNX graphs, `session` runs them with ONNX Runtime.
"""
