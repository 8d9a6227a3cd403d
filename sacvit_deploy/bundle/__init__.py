"""The deployable folder: its manifest, its files and their hashes, and how it is found and written."""
