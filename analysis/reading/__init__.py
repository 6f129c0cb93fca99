"""Reads run directories and sweeps."""
