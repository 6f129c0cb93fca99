"""A virtual clock: how long every client needs for a job, drawn once and for all from the seed."""

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from common.clocks import clock_profile
from common.config import Config
from common.errors import UserError
from common.randomness import numpy_generator
from common.sections import ClockSection


class ClientSpeeds:
    """Virtual seconds that clients need.

    Client k needs s_k (1 + ``clock.jitter`` E) for a job: s_k is that of ``clock.profile``, the same for the
    whole run; E is exponential with mean 1 and new for each job.
    """

    def __init__(self, config: Config) -> None:
        self._jitter = config.clock.jitter
        self._seed = config.seed
        self.seconds_per_job = _seconds_per_job(config.clock, config.clients.count, config.seed)

    def job(self, client_id: int, number: int) -> float:
        """Return the virtual seconds of one job of a client; jobs differ by a number of any meaning."""
        seconds = float(self.seconds_per_job[client_id])
        if self._jitter == 0:
            return seconds
        generator = numpy_generator(self._seed, "clock-jitter", number, client_id)
        return seconds * (1 + self._jitter * float(generator.exponential()))

    @property
    def are_equal(self) -> bool:
        """Whether all jobs take one second, as without a clock."""
        return self._jitter == 0 and bool((self.seconds_per_job == 1).all())


@functools.lru_cache(maxsize=1)
def _seconds_per_job(section: ClockSection, num_clients: int, seed: int) -> npt.NDArray[np.float64]:
    profile = clock_profile(section)
    seconds = np.asarray(profile(num_clients, numpy_generator(seed, "clock-speed")), dtype=np.float64)
    if seconds.shape != (num_clients,) or not np.isfinite(seconds).all() or not (seconds > 0).all():
        raise UserError(
            f"clock.profile '{section.profile}' must return {num_clients} positive numbers, one per client"
        )
    return seconds


def synchronous_seconds(config: Config, server_round: int, cohort: Sequence[int]) -> float | None:
    """Return how long a synchronous round waits for the slowest of its clients; None without a clock."""
    speeds = ClientSpeeds(config)
    if speeds.are_equal:
        return None
    return max((speeds.job(client_id, server_round) for client_id in cohort), default=0.0)
