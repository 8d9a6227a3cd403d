"""Measure a bundle on labelled pictures and choose its eta and alpha: `sacvit eval`, `sweep` and `overlay-sheet`.

Both engines run once over the pictures (outputs.py); every table, curve and choice is computed from what they said.
INT8 ranges, which belong here too, are not built yet.
"""
