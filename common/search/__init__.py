"""A search for good values of some keys: its table in an experiment file, and its trials on disk."""
