"""The `sacvit` group and the commands of the runtime; every other package defines its own."""
