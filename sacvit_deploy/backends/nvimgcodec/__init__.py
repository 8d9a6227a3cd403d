"""JPEGs decoded by NVIDIA's nvImageCodec, on a GPU."""
