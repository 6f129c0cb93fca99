"""The file that describes a sweep, for code that only reads it."""

SWEEP_FILE = "sweep.json"  # its axes, and the directory of each of its runs
