"""Measure a bundle on pictures (`sacvit eval`, `sweep`, `overlay-sheet`); make and judge int8 (`sacvit calibrate`).

Both engines run once over the pictures (outputs.py); every table, curve and choice is computed from what they said.
"""
