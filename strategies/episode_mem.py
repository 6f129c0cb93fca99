"""The server half of EPISODE with remembered gradients: that of SCAFFOLD."""

from strategies.scaffold import Scaffold


class EpisodeMem(Scaffold):
    """Tracks G, the mean of all L_i, from their changes; ``initialise`` asks all clients for a first L_i."""
