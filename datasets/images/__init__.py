"""Image data sets: sources, decoding, folders, lists, and the cache."""
