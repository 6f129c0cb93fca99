"""Client-level central differential privacy: clip each client's change, average, add Gaussian noise."""

import math
from collections.abc import Collection, Mapping

import torch

from common.errors import UserError
from common.norms import norm
from common.randomness import torch_generator
from common.records import ARRAYS, Tensors
from common.sections import PrivacySection
from strategies._aggregation import WeightedAverage
from strategies._privacy_accounting import Accountant

_LARGEST_EXPONENT = 709.0  # the largest relative error of a float


class ClientPrivacy:
    """The mechanism of a run: DP-FedAvg with a fixed or an adaptive clip norm.

    A client's change y_i - x over all trainable entries is clipped to l2 norm S; x moves by
    (1 / m) (sum_i clipped_i + N(0, (z S)^2 I)), where m is the planned cohort size: all replies weigh the
    same and missing ones count as zeros, so that failures do not weaken the noise (McMahan et al. 2018,
    Algorithm 1 with the fixed-denominator estimator).

    With ``clipping = "adaptive"`` S follows the quantile gamma of the norms (Andrew et al. 2021,
    Algorithm 1): S <- S exp(-eta (b - gamma)), b being the fraction of changes that S did not clip, with
    noise of standard deviation sigma_b on their count. The model's noise multiplier rises to
    z_delta = (z^-2 - (2 sigma_b)^-2)^(-1/2), so that both releases together cost what one with z does.

    Parameters
    ----------
    section : PrivacySection
        The keys ``privacy.*``, with clipping on.
    seed : int
        Seed of the run. Anyone who knows it can subtract the noise.
    cohort_size, num_clients : int
        m, and the total number of clients K.
    amplified : bool
        Whether cohorts are drawn uniformly without replacement (``Accountant``).

    Raises
    ------
    UserError
        If the noise of the count is too small for the noise multiplier.
    """

    def __init__(
        self, section: PrivacySection, seed: int, cohort_size: int, num_clients: int, amplified: bool
    ) -> None:
        z = section.noise_multiplier
        self.section = section
        self.seed = seed
        self.cohort_size = cohort_size
        self.model_noise_multiplier = z
        self.count_deviation = 0.0
        if section.clipping == "adaptive" and z > 0:
            self.count_deviation = section.count_noise or cohort_size / 20
            self.model_noise_multiplier = split_noise_multiplier(z, self.count_deviation)
        self._accountant = (
            Accountant(z, cohort_size, num_clients, amplified, section.relation, section.delta)
            if z > 0
            else None
        )

    def check_section(self, section: str) -> None:
        """Refuse a section of a reply that the noise does not cover.

        Raises
        ------
        UserError
            If it is not the model.
        """
        if section != ARRAYS:
            raise UserError(
                f"a client replied with '{section}' in addition to its model, which privacy.* does not cover:"
                " set privacy.clipping = 'off', or choose a method whose replies are the model alone"
            )

    def spent(self, num_rounds: int) -> dict[str, float]:
        """Return the epsilon of `num_rounds` rounds, by name; empty without noise."""
        return {} if self._accountant is None else {"epsilon": self._accountant.epsilon(num_rounds)}


def split_noise_multiplier(noise_multiplier: float, count_deviation: float) -> float:
    """Return z_delta = (z^-2 - (2 sigma_b)^-2)^(-1/2) (Andrew et al. 2021, Theorem 1).

    Raises
    ------
    UserError
        If 2 sigma_b is not above z.
    """
    remaining = noise_multiplier**-2 - (2 * count_deviation) ** -2
    if remaining <= 0:
        raise UserError(
            f"adaptive clipping with privacy.noise-multiplier = {noise_multiplier:g} needs"
            f" privacy.count-noise above {noise_multiplier / 2:g}, not {count_deviation:g}"
            " (its default is a twentieth of the cohort): raise it, or use larger cohorts"
        )
    return float(remaining**-0.5)


class PrivateMean(WeightedAverage):
    """The private mean of the models of one round, instead of their weighted average.

    Parameters
    ----------
    privacy : ClientPrivacy
        The mechanism.
    start : Mapping[str, Tensor]
        The global model x from which the clients started.
    parameter_names : Collection[str]
        Its trainable entries, in a fixed order; the others stay as they are.
    clip_norm : float
        S of this round.
    server_round : int
        The round, which keys the noise.
    """

    def __init__(
        self,
        privacy: ClientPrivacy,
        start: Mapping[str, torch.Tensor],
        parameter_names: Collection[str],
        clip_norm: float,
        server_round: int,
    ) -> None:
        super().__init__()
        self._privacy = privacy
        self._start = start
        self._parameter_names = parameter_names
        self._clip_norm = clip_norm
        self._generator = torch_generator(privacy.seed, "privacy", server_round)
        self._count_noise = float(self._noise(())) * privacy.count_deviation
        self._num_replies = 0
        self._num_clipped = 0

    def add(self, section: Mapping[str, torch.Tensor], weight: float) -> None:
        """Add one reply's clipped change; `weight` is ignored. Entries that it lacks count as unchanged."""
        change = {
            name: section[name].double() - self._start[name]
            for name in self._parameter_names
            if name in section
        }
        length = float(norm(change))
        is_clipped = length > self._clip_norm
        super().add(change, self._clip_norm / length if is_clipped else 1.0)
        self._num_replies += 1
        self._num_clipped += is_clipped

    def mean(self) -> Tensors:
        """Return x + (sum of clipped changes + noise) / m in float64; call once. Entries not sent stay."""
        deviation = self._privacy.model_noise_multiplier * self._clip_norm
        averages = {
            name: value.double() if value.is_floating_point() else value
            for name, value in self._start.items()
        }
        for name in self._parameter_names:
            if name in self._sums:
                total = self._sums[name]
                if deviation > 0:
                    total = total + deviation * self._noise(total.shape)
                averages[name] = averages[name] + total / self._privacy.cohort_size
        return averages

    def cast(self, section: Tensors) -> Tensors:
        """Return `section` in the dtypes of the global model."""
        return {name: value.to(self._start[name].dtype) for name, value in section.items()}

    def next_clip_norm(self) -> float:
        """Return S of the next round."""
        section = self._privacy.section
        if section.clipping == "fixed":
            return self._clip_norm
        # Counted as +-1/2, so one client moves the count by at most 1/2: hence the 2 in z_delta.
        unclipped = self._num_replies - self._num_clipped
        count = (unclipped - self._num_clipped) / 2 + self._count_noise
        fraction = count / self._privacy.cohort_size + 0.5
        exponent = -section.clip_learning_rate * (fraction - section.target_quantile)
        following = self._clip_norm * math.exp(min(exponent, _LARGEST_EXPONENT))
        if not 0 < following < math.inf:
            raise UserError(
                f"adaptive clipping has changed the clip norm from {self._clip_norm:g} to {following:g}:"
                " lower privacy.clip-learning-rate, or raise the cohort's size"
            )
        return following

    def metrics(self) -> dict[str, float]:
        """Return this round's clip norm, and the fraction of its replies that were clipped."""
        return {
            "clip_norm": self._clip_norm,
            "clipped_fraction": self._num_clipped / self._num_replies,
        }

    def _noise(self, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.randn(shape, generator=self._generator, dtype=torch.float64)
