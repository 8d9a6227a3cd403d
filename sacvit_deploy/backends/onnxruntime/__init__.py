"""ONNX Runtime: sessions, the backend over arrays, and the device that keeps tensors in place."""
