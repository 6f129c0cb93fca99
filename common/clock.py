"""A virtual clock: how long every client needs for a job, drawn once and for all from the seed."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from common.config import Config
from common.randomness import numpy_generator


class ClientSpeeds:
    """Virtual seconds that clients need.

    Client k needs s_k (1 + ``clock.jitter`` E) for a job: s_k is log-normal with median 1 and standard
    deviation ``clock.spread`` of its logarithm, the same for the whole run; E is exponential with mean 1 and
    new for each job.
    """

    def __init__(self, config: Config) -> None:
        self._jitter = config.clock.jitter
        self._seed = config.seed
        deviates = numpy_generator(config.seed, "clock-speed").standard_normal(config.clients.count)
        self.seconds_per_job: npt.NDArray[np.float64] = np.exp(config.clock.spread * deviates)

    def job(self, client_id: int, number: int) -> float:
        """Return the virtual seconds of one job of a client; jobs differ by a number of any meaning."""
        seconds = float(self.seconds_per_job[client_id])
        if self._jitter == 0:
            return seconds
        generator = numpy_generator(self._seed, "clock-jitter", number, client_id)
        return seconds * (1 + self._jitter * float(generator.exponential()))


def synchronous_seconds(config: Config, server_round: int, cohort: Sequence[int]) -> float | None:
    """Return how long a synchronous round waits for the slowest of its clients; None without a clock."""
    if config.clock.spread == 0 and config.clock.jitter == 0:
        return None
    speeds = ClientSpeeds(config)
    return max((speeds.job(client_id, server_round) for client_id in cohort), default=0.0)
