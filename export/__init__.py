"""Export of a checkpoint as a bundle: reference model, checkpoint loading, ONNX, parity check. Needs torch."""
