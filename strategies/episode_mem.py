"""The server half of EPISODE with remembered gradients: that of SCAFFOLD."""

from strategies.scaffold import Scaffold


class EpisodeMem(Scaffold):
    """G is the mean of all L_i and follows their changes; ``initialise`` asks all clients for a first one."""
