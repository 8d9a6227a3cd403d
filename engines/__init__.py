"""ONNX engines to TensorRT-RTX plans, built ahead of time for GPUs that need not be there. Nothing here runs a plan."""
