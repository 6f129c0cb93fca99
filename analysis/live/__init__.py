"""A page that follows runs while they are computed, from nothing but the files of their directories."""
