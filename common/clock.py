"""A virtual clock: the time that every client needs for a job, a function of the seed."""

import functools

import numpy as np
import numpy.typing as npt

from common.budget import num_steps, round_budget
from common.clocks import clock_profile
from common.config import Config
from common.errors import UserError
from common.randomness import numpy_generator
from common.sections import ClockSection

FloatArray = npt.NDArray[np.float64]


class ClientSpeeds:
    """Virtual seconds that clients need.

    Client k computes for s_k (1 + ``clock.jitter`` E) w: s_k comes from ``clock.profile`` and is fixed for
    the whole run; E is exponential with mean 1 and drawn for each job; w is ``clock.seconds-per-step`` times
    the local steps, or 1 if that key is 0. Communication adds ``clock.latency`` and the bytes received and
    sent over the client's bandwidth.
    """

    def __init__(self, config: Config) -> None:
        self._config, self._clock = config, config.clock
        self.seconds_per_job = _seconds_per_job(config.clock, config.clients.count, config.seed)

    def job(self, client_id: int, number: int, num_steps: int = 1, num_bytes: float = 0) -> float:
        """Return the virtual seconds of one job of a client; `number` identifies the job."""
        clock, seconds = self._clock, float(self.seconds_per_job[client_id])
        if clock.seconds_per_step:
            seconds *= clock.seconds_per_step * num_steps
        if clock.jitter:
            generator = numpy_generator(self._config.seed, "clock-jitter", number, client_id)
            seconds *= 1 + clock.jitter * float(generator.exponential())
        return seconds + self.transfer(client_id, num_bytes)

    def transfer(self, client_id: int, num_bytes: float) -> float:
        """Return the virtual seconds of a message to a client and its reply, `num_bytes` in total."""
        clock = self._clock
        if not clock.bandwidth:
            return clock.latency
        factors = _bandwidth_factors(clock, self._config.clients.count, self._config.seed)
        return clock.latency + num_bytes / (1e6 * clock.bandwidth * float(factors[client_id]))

    def planned_steps(self, client_id: int, server_round: int, num_examples: int, assigned: int = 0) -> int:
        """Return the planned local steps of a client in a round; `assigned` as in ``round_budget``."""
        budget = round_budget(self._config, server_round, client_id, num_examples, assigned)
        return num_steps(budget, num_examples)

    @functools.cached_property  # every round asks
    def is_off(self) -> bool:
        """Whether all jobs take one second, as without a clock."""
        clock = self._clock
        return not (clock.jitter or clock.seconds_per_step or clock.latency or clock.bandwidth) and bool(
            (self.seconds_per_job == 1).all()
        )


@functools.lru_cache(maxsize=1)
def _seconds_per_job(section: ClockSection, num_clients: int, seed: int) -> FloatArray:
    profile = clock_profile(section)
    seconds = np.asarray(profile(num_clients, numpy_generator(seed, "clock-speed")), dtype=np.float64)
    if seconds.shape != (num_clients,) or not np.isfinite(seconds).all() or not (seconds > 0).all():
        raise UserError(
            f"clock.profile '{section.profile}' must return {num_clients} positive numbers, one per client"
        )
    return seconds


@functools.lru_cache(maxsize=1)
def _bandwidth_factors(section: ClockSection, num_clients: int, seed: int) -> FloatArray:
    """Return each client's bandwidth relative to ``clock.bandwidth``: log-normal with median 1."""
    generator = numpy_generator(seed, "clock-bandwidth")
    factors: FloatArray = np.exp(section.bandwidth_spread * generator.standard_normal(num_clients))
    return factors
