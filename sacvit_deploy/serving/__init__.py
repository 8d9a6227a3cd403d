"""`sacvit serve`: a small HTTP server over the two stages, for edge boxes and demos."""
