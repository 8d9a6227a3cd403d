"""Baselines of a bench: SaiT and STViT over the bundle's own weights, their costs, export and files."""
