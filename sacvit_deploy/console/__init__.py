"""Console output that all commands share: progress lines, text tables, charts."""
