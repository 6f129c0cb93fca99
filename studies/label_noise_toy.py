"""Local SGD with label noise on two weights: the drift along the manifold of minimisers towards flat ones.

The model f(u, v) = u v has the loss (u v - 1 - e)^2 / 2, where e = +-s is drawn by every worker in
every step. All points with u v = 1 are minimisers; there the trace of the Hessian is u^2 + v^2, and the slow
SDE of Gu et al. (ICLR 2023) has no diffusion, only a drift that lowers it, faster with more local steps.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_THEORY_STEPS = 50  # SGD steps in one step of the integration, which changes nothing by that


@dataclass(frozen=True)
class ToySetting:
    """The experiment.

    Attributes
    ----------
    steps : int
        Local steps of each worker.
    learning_rate, noise : float
        eta and s.
    start : float
        u at the start; v is 1 / u.
    repetitions : int
        Independent runs.
    """

    steps: int = 12_000
    learning_rate: float = 0.01
    noise: float = 0.6
    start: float = 3.0
    repetitions: int = 64


@dataclass(frozen=True)
class Trajectory:
    """Sharpness after numbers of steps.

    Attributes
    ----------
    steps : Array
        Local steps, shape (points,).
    sharpness : Array
        u^2 + v^2 of the averaged model, mean over the repetitions, shape (points,).
    """

    steps: Array
    sharpness: Array

    @property
    def final(self) -> float:
        """The last sharpness."""
        return float(self.sharpness[-1])


def psi_of_rounds(sharpness: float, learning_rate: float, local_steps: int) -> float:
    """Return how much of the extra drift H local steps make, from 0 to 1.

    psi = 1 - (1 - z^H) / (H (1 - z)) with z = (1 - eta lambda)^2.
    """
    z = (1 - learning_rate * sharpness) ** 2
    return 1 - (1 - z**local_steps) / (local_steps * (1 - z))


def simulate(
    num_workers: int, local_steps: int, setting: ToySetting | None = None, seed: int = 0, points: int = 120
) -> Trajectory:
    """Run Local SGD with K workers and H local steps per round, all repetitions at once.

    Parameters
    ----------
    num_workers, local_steps : int
        K and H; H must divide the number of steps.
    setting : ToySetting, optional
        By default the one of the table.
    seed : int
        Of the label noise.
    points : int
        About how many points of the trajectory to keep.
    """
    setting = setting or ToySetting()
    if setting.steps % local_steps:
        raise ValueError(f"{local_steps} local steps do not divide {setting.steps}")
    generator = np.random.default_rng(seed)
    shape = (setting.repetitions, num_workers)
    u, v = np.full(shape, setting.start), np.full(shape, 1 / setting.start)
    rounds = setting.steps // local_steps
    every = max(1, rounds // points)
    kept_steps, kept = [0], [setting.start**2 + setting.start**-2]
    for number in range(1, rounds + 1):
        errors = setting.noise * (2 * generator.integers(0, 2, (local_steps, *shape)) - 1)
        for error in errors:
            step = setting.learning_rate * (u * v - 1 - error)
            u, v = u - step * v, v - step * u
        u[:], v[:] = u.mean(axis=1, keepdims=True), v.mean(axis=1, keepdims=True)
        if number % every == 0 or number == rounds:
            kept_steps.append(number * local_steps)
            kept.append(float((u[:, 0] ** 2 + v[:, 0] ** 2).mean()))
    return Trajectory(np.array(kept_steps, dtype=np.float64), np.array(kept))


def theory(num_workers: int, local_steps: int, setting: ToySetting | None = None) -> Trajectory:
    """Integrate the slow SDE's drift, which is all that is left of it here.

    With u = exp(a), v = exp(-a) the sharpness is lambda = 2 cosh(2 a), and per step
    a' = -(s^2 eta^2 / (2 K)) (1 + (K - 1) psi_H(lambda)) tanh(2 a).
    """
    setting = setting or ToySetting()
    a, rate = math.log(setting.start), setting.learning_rate
    slope = setting.noise**2 * rate**2 / (2 * num_workers)
    steps, sharpness = [0], [2 * math.cosh(2 * a)]
    for step in range(_THEORY_STEPS, setting.steps + 1, _THEORY_STEPS):
        growth = 1 + (num_workers - 1) * psi_of_rounds(sharpness[-1], rate, local_steps)
        a -= _THEORY_STEPS * slope * growth * math.tanh(2 * a)
        steps.append(step)
        sharpness.append(2 * math.cosh(2 * a))
    return Trajectory(np.array(steps, dtype=np.float64), np.array(sharpness))
