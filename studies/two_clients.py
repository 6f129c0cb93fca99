"""Two clients, two features, feature noise: a model in which local steps decide what is learned.

A reconstruction in the spirit of Bao, Crawshaw and Liu, "Provable Benefits of Local Steps in Heterogeneous
Federated Learning for Neural Networks: A Feature Learning Perspective", ICML 2024; the constants are not the
paper's. A sample of client k has a label y = +-1 and three patches: the signal y v_k, the feature noise
-rho y v_{1-k} (the other client's feature, subtracted) and random noise outside of both features, where v_0
and v_1 are the first two coordinates. With cubic filters a feature grows with (1 - rho^3) / 2 under global
updates and with 1 under local ones, while noise is memorised with ||xi||^3 / (2 n) and ||xi||^3 / n: where
1 - rho^3 < ||xi||^3 / n < 1 global updates fit the noise and local ones learn the features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_TEST_BLOCK = 250
_LABELS = np.array([1.0, -1.0])


@dataclass(frozen=True)
class TwoClientSetting:
    """Constants of the model and of gradient descent.

    Attributes
    ----------
    activation : str
        ``cubic``: f(x) = sum over filters and patches of <w_r, p>^3. ``relu``: a smoothed ReLU in its place
        (z^3 / 3 up to 1, z - 2/3 from there on), and the second half of the filters counts negatively.
    dimension, filters, samples, test_samples : int
        d, m, n per client, and test samples per client.
    rho, sigma, initial_deviation : float
        Magnitude of the feature noise; standard deviations of the random noise and the initial weights.
    learning_rate : float
        Of full-batch gradient descent on the logistic loss.
    steps : int
        Local steps in all, T.
    """

    activation: Literal["cubic", "relu"] = "cubic"
    dimension: int = 200
    filters: int = 32
    samples: int = 20
    test_samples: int = 1000
    rho: float = 0.85
    sigma: float = 0.15
    initial_deviation: float = 0.02
    learning_rate: float = 0.05
    steps: int = 2400


CUBIC = TwoClientSetting()
RELU = TwoClientSetting("relu", filters=64, samples=60, learning_rate=0.1, steps=6000)


@dataclass(frozen=True)
class Samples:
    """Samples of both clients in a number of runs.

    Attributes
    ----------
    labels : numpy.ndarray
        shape (runs, 2, n), +-1.
    noise : numpy.ndarray
        shape (runs, 2, n, d): the random patch, zero along both features.
    """

    labels: Array
    noise: Array


@dataclass(frozen=True)
class Problem:
    """Training and test samples of both clients, and the common initial weights, shape (runs, m, d)."""

    setting: TwoClientSetting
    train: Samples
    test: Samples
    weights: Array


@dataclass(frozen=True)
class Trained:
    """The averaged model after the last round.

    Attributes
    ----------
    weights : numpy.ndarray
        shape (runs, m, d).
    steps : numpy.ndarray
        shape (points,): local steps at which the following were recorded.
    features, memory : numpy.ndarray
        shape (points, runs, 2): of client k's own model, max_r <w_r, v_k> and max_{r,i} y_i <w_r, xi_i>.
    """

    weights: Array
    steps: npt.NDArray[np.int64]
    features: Array
    memory: Array


def draw(seeds: Sequence[int], setting: TwoClientSetting = CUBIC) -> Problem:
    """Draw one run per seed from ``default_rng(seed)``: training sets, test sets, weights, in this order."""
    runs = [_draw(seed, setting) for seed in seeds]
    train, test, weights = zip(*runs, strict=True)
    return Problem(setting, _stack(train), _stack(test), np.stack(weights))


def train(problem: Problem, period: int, record_every: int = 0) -> Trained:
    """Run local gradient descent: every client makes `period` steps, H, then the models are averaged.

    Parameters
    ----------
    problem : Problem
        The data and the initial weights, which are not written to.
    period : int
        H; a last round is shorter if H does not divide the steps. 1 is parallel gradient descent.
    record_every : int, default 0
        Record both scores every n-th step; 0: never.
    """
    setting, samples = problem.setting, problem.train
    weights = np.repeat(problem.weights[:, None], 2, axis=1)
    steps, features, memory = [], [], []
    for step in range(setting.steps + 1):
        if record_every and step % record_every == 0:
            steps.append(step)
            features.append(np.stack([weights[:, k, :, k].max(axis=1) for k in (0, 1)], axis=1))
            products = samples.labels[..., None] * (samples.noise @ weights.swapaxes(-1, -2))
            memory.append(products.max(axis=(-1, -2)))
        if step == setting.steps:
            break
        weights -= setting.learning_rate * gradient(weights, samples, setting)
        if (step + 1) % period == 0 or step + 1 == setting.steps:
            weights[:] = weights.mean(axis=1, keepdims=True)
    return Trained(weights[:, 0], np.array(steps, dtype=np.int64), np.array(features), np.array(memory))


def gradient(weights: Array, samples: Samples, setting: TwoClientSetting) -> Array:
    """Return the gradient of every client's mean logistic loss at its own weights, shape (runs, 2, m, d)."""
    signs, is_positive = _signs(setting), samples.labels > 0
    noise = samples.noise @ weights.swapaxes(-1, -2)
    # Both patches with features are the same in all samples of a label: (runs, 2, labels, m).
    own, other = (_LABELS[:, None] * patch for patch in _features(weights, setting))
    of_label = _outputs((own, other), setting)
    outputs = _outputs((noise,), setting) + np.where(is_positive, of_label[..., :1], of_label[..., 1:])
    # d/df of log(1 + exp(-y f)), over n.
    outer = -samples.labels / (1 + np.exp(samples.labels * outputs)) / samples.labels.shape[-1]
    result = (outer[..., None] * signs * _slope(noise, setting)).swapaxes(-1, -2) @ samples.noise
    sums = np.stack([(outer * is_positive).sum(axis=-1), (outer * ~is_positive).sum(axis=-1)], axis=-1)
    factors = (_LABELS * sums)[..., None] * signs
    own_slope = (factors * _slope(own, setting)).sum(axis=-2)
    other_slope = -setting.rho * (factors * _slope(other, setting)).sum(axis=-2)
    for client in (0, 1):
        result[:, client, :, client] = own_slope[:, client]
        result[:, client, :, 1 - client] = other_slope[:, client]
    return np.asarray(result)


def accuracy(weights: Array, samples: Samples, setting: TwoClientSetting) -> Array:
    """Return the accuracy of one model per run on both clients' samples, shape (runs, 2)."""
    both = np.repeat(weights[:, None], 2, axis=1)
    num_samples = samples.labels.shape[-1]
    right = np.zeros(samples.labels.shape[:2])
    for start in range(0, num_samples, _TEST_BLOCK):
        block = slice(start, start + _TEST_BLOCK)
        part = Samples(samples.labels[..., block], samples.noise[..., block, :])
        outputs = _outputs(_products(both, part, setting), setting)
        right += (part.labels * outputs > 0).sum(axis=-1)
    return np.asarray(right / num_samples)


def scores(weights: Array) -> Array:
    """Return max_r <w_r, v_k> of one model per run, shape (runs, 2)."""
    return np.asarray(weights[:, :, :2].max(axis=1))


def _draw(seed: int, setting: TwoClientSetting) -> tuple[Samples, Samples, Array]:
    generator = np.random.default_rng(seed)

    def both(num_samples: int) -> Samples:
        labels, noise = [], []
        for _ in (0, 1):
            labels.append(generator.choice([-1.0, 1.0], num_samples))
            noise.append(generator.normal(0, setting.sigma, (num_samples, setting.dimension)))
            noise[-1][:, :2] = 0
        return Samples(np.stack(labels), np.stack(noise))

    train, test = both(setting.samples), both(setting.test_samples)
    return train, test, generator.normal(0, setting.initial_deviation, (setting.filters, setting.dimension))


def _stack(samples: Sequence[Samples]) -> Samples:
    return Samples(np.stack([s.labels for s in samples]), np.stack([s.noise for s in samples]))


def _products(weights: Array, samples: Samples, setting: TwoClientSetting) -> tuple[Array, Array, Array]:
    """Return <w_r, p> for the three patches, each of shape (runs, 2, n, m)."""
    label = samples.labels[..., None]
    own, other = _features(weights, setting)
    return label * own, label * other, samples.noise @ weights.swapaxes(-1, -2)


def _features(weights: Array, setting: TwoClientSetting) -> tuple[Array, Array]:
    """Return <w_r, p> for both patches with features where the label is 1, each of shape (runs, 2, 1, m)."""
    own = np.stack([weights[:, k, :, k] for k in (0, 1)], axis=1)[:, :, None]
    other = np.stack([weights[:, k, :, 1 - k] for k in (0, 1)], axis=1)[:, :, None]
    return own, -setting.rho * other


def _outputs(products: Sequence[Array], setting: TwoClientSetting) -> Array:
    signs = _signs(setting)
    if setting.activation == "cubic":
        return np.asarray(sum((z * z * z * signs).sum(axis=-1) for z in products))
    return np.asarray(sum((_smoothed_relu(z) * signs).sum(axis=-1) for z in products))


def _slope(z: Array, setting: TwoClientSetting) -> Array:
    return 3 * z * z if setting.activation == "cubic" else np.clip(z, 0, 1) ** 2


def _smoothed_relu(z: Array) -> Array:
    small = np.clip(z, 0, 1)
    return small * small * small / 3 + np.maximum(z - 1, 0)


def _signs(setting: TwoClientSetting) -> Array:
    signs = np.ones(setting.filters)
    if setting.activation == "relu":
        signs[setting.filters // 2 :] = -1
    return signs
