"""The commands of the runtime; each room owns its own."""
