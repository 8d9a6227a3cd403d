"""The result of a bench: as JSON, terminal tables, charts, a page, and the comparison of two results."""
