"""Measure a bundle on pictures: `sacvit eval`, `sweep` and `overlay-sheet`; reduce it to int8 and judge that: `calibrate`.

Both engines run once over the pictures (outputs.py); every table, curve and choice is computed from what they said.
"""
