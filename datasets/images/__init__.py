"""Sources of images: decoding, folders, lists, and the cache."""
