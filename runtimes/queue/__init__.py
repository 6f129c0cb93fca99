"""Many experiments on one machine, one process at a time, for as long as it takes."""
