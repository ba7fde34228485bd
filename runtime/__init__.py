"""Encode on a device, decode on a server: numpy and ONNX Runtime, never torch."""
