"""Object scenes: the generator, the rendered splits on disk, and the data set that training reads from them."""
