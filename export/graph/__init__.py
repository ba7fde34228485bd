"""The parts of the codec that we author in ONNX operators, with onnxscript."""
