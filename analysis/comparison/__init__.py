"""Tables and plots of several runs, and of sweeps."""
