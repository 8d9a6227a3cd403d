"""Tests on the servers that others make: Ray, and the Triton that pytriton's wheel brings. `make test-serving`."""
