"""Stragglers: clients that do only part of a round's work (Li et al. 2020, FedProx, section 5.2)."""

import math

from common.config import Config
from common.randomness import numpy_generator


def work_share(config: Config, server_round: int, client_id: int) -> float:
    """Return the share of the local budget that a client completes in a round.

    A fraction ``stragglers.fraction`` of the clients, drawn independently for each round and client,
    completes a share that is uniform in (s, 1], s being ``stragglers.smallest-share``; the others complete
    all of it. A pure function of its arguments and the seed.
    """
    fraction = config.stragglers.fraction
    if fraction == 0:
        return 1.0
    generator = numpy_generator(config.seed, "straggler", server_round, client_id)
    lost = 1 - config.stragglers.smallest_share
    return 1 - lost * generator.random() if generator.random() < fraction else 1.0


def steps_in_time(num_steps: int, share: float) -> int:
    """Return the whole number of steps, at least 1, that a share of a budget amounts to."""
    return max(1, math.ceil(share * num_steps))
