"""OpenVINO: the same ONNX files on x86 and Arm CPUs."""
