"""TensorRT and TensorRT-RTX: the libraries, their differences, and plans run on an NVIDIA GPU."""
