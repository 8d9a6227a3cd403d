"""From files to pixels: paths, decoding, resizing, prefetching, and drawing what stage 2 saw."""
