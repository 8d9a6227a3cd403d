"""Killing the commands that write, at random moments."""
