"""Whatever `sacvit infer` takes: image files, videos, cameras, streams, pipes, addresses and lists of them."""
