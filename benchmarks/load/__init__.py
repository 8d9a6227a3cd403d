"""Load on servers, every answer compared: what `serve_load`, `triton_load` and `ray_load` have in common."""
