"""Tables and plots made from run directories, and from nothing else."""
