"""Backends: one protocol, one package for each library, imported only when asked for."""
