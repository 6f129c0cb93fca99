"""A search for good values of configuration keys: its table in an experiment file, its trials on disk."""
