"""The two stages as the scheduler drives them, on the host or on a device."""
