"""Measure a bundle on labelled pictures and choose its eta and alpha: `sacvit eval`, `sweep` and `overlay-sheet`.

Both engines run once over the pictures (outputs.py); every table, curve and choice is computed from what they said.
`sacvit calibrate` adds an int8 variant (int8.py) and judges every reduced one against fp32 (reduce.py, gate.py).
"""
