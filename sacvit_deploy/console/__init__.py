"""What commands print: progress, tables, charts."""
