"""The runtime of SAC-ViT bundles: `SACViT("model.sacvit").predict("image.jpg", eta=0.6)`. Never imports torch."""

__version__ = "0.1.0"
