"""Image files: finding, decoding and preparing them for a model."""
