"""Device memory, streams and events: the protocol, CUDA's, and the host's for tests."""
