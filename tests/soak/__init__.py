"""The soak: hours of what happens to a server, in minutes, with every answer compared. See `__main__.py`."""
