"""CompressAI's models as codecs that are ONNX files: transforms, their tables, hyper networks in whole numbers."""
