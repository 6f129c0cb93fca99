"""A queue of many experiments on one machine, one process at a time."""
