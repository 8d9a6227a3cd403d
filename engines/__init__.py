"""ONNX to TensorRT plans. The room is reserved: nothing is built here yet, and no command claims to."""
