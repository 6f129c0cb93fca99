"""The Flower ServerApp, the round loop, participation, central evaluation, checkpoints, the run directory."""
