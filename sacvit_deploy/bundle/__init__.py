"""The deployable folder: manifest, files and hashes, and how a bundle is found and written."""
