"""NVIDIA Triton: a model repository of a bundle, and the models in it that are written in Python."""
