"""Data sets as LEAF (Caldas et al. 2018) writes them: JSON files in ``train`` and ``test``, by user."""
