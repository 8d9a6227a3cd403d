"""Golden vectors, parity with the reference, and comparison of backends."""
