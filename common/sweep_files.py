"""The name of what a sweep writes of itself, for those who only read it."""

SWEEP_FILE = "sweep.json"  # its axes, and the directory of each of its runs
