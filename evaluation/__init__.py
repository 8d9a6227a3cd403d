"""Accuracy against cost: eval, sweep and overlay sheets, with their tables, charts and pages."""
