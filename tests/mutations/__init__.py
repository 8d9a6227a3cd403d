"""Damaged and forged files by the thousand: `python -m tests.mutations --help`."""
