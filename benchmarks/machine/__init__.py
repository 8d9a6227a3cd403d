"""The machine that a bench ran on: its fingerprint and its energy counters."""
