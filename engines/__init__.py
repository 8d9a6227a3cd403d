"""Building of TensorRT plans from ONNX engines, for GPUs that this machine may not have. No plan is run here."""
