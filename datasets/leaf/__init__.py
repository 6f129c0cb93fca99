"""Data sets in the format of LEAF (Caldas et al. 2018): JSON files in ``train`` and ``test``, by user."""
