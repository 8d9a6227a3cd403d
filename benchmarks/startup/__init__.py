"""Start-up time and peak memory, measured in fresh processes."""
