"""Checkpoint in, bundle out: the reference model, checkpoint loading, ONNX export and the parity check. Needs torch."""
