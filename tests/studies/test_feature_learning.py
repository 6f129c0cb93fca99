"""The two-client model: the numbers of the specification, and relations that must hold exactly."""

from dataclasses import replace

import numpy as np
import pytest

from studies.feature_learning import main, outcome
from studies.two_clients import CUBIC, RELU, Array, Problem, Samples, draw, gradient, train
from tests.analysis.conftest import picture_is_drawn

SHORT = replace(CUBIC, steps=300)


def pooled(problem: Problem) -> Array:
    """Return the weights that plain gradient descent on the samples of both clients ends with."""
    weights = problem.weights.copy()
    for _ in range(problem.setting.steps):
        both = np.repeat(weights[:, None], 2, axis=1)
        # The mean of the clients' mean losses is that of all samples, since both have as many.
        weights -= problem.setting.learning_rate * gradient(both, problem.train, problem.setting).mean(axis=1)
    return weights


def swapped(problem: Problem) -> Problem:
    """Return the same problem with the names of the clients, and of both features, exchanged."""
    weights = problem.weights.copy()
    weights[..., [0, 1]] = weights[..., [1, 0]]
    train, test = (Samples(s.labels[:, ::-1], s.noise[:, ::-1]) for s in (problem.train, problem.test))
    return replace(problem, train=train, test=test, weights=weights)


def test_the_generator_draws_in_the_given_order():
    problem = draw([0])
    assert problem.train.labels[0, 0, :8].tolist() == [1, 1, 1, -1, -1, -1, -1, -1]
    noise = [-0.34875462, -0.03281875, -0.18688664, -0.1098401]
    np.testing.assert_allclose(problem.train.noise[0, 0, 0, 2:6], noise, atol=1e-8)
    np.testing.assert_allclose(problem.weights[0, 0, :3], [0.02730958, 0.01058004, 0.02322921], atol=1e-8)
    assert not problem.train.noise[..., :2].any()


def test_only_local_steps_learn_the_signal():
    problem = draw(range(4))
    parallel, local = (outcome(problem, period, record=False) for period in (1, 100))
    assert parallel.train_accuracy.min() == local.train_accuracy.min() == 1
    assert (parallel.solved.sum(), parallel.learned.sum()) == (0, 0)
    assert (local.solved.sum(), local.learned.sum()) == (4, 4)
    np.testing.assert_allclose(parallel.test_accuracy[:2], [[0.744, 0.337], [0.457, 0.609]], atol=0.02)
    np.testing.assert_allclose(parallel.feature_scores[:2], [[0.4532, 0.1183], [0.0922, 0.2409]], atol=1e-2)
    np.testing.assert_allclose(local.feature_scores[:2], [[2.3793, 2.3775], [2.3864, 2.3828]], atol=1e-2)
    assert local.test_accuracy.min() == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("period", "train_accuracy", "test_accuracy", "solved", "learned"),
    [
        (10, 1.0, 0.506, 0, 1),
        (25, 1.0, 0.756, 5, 7),
        (50, 1.0, 0.951, 9, 9),
        (300, 0.95, 0.900, 8, 8),
    ],
)
def test_more_local_steps_learn_the_signal_in_more_runs(
    period, train_accuracy, test_accuracy, solved, learned
):
    result = outcome(draw(range(10)), period, record=False)
    assert result.train_accuracy.mean() == pytest.approx(train_accuracy, abs=0.02)
    assert (result.solved.sum(), result.learned.sum()) == (solved, learned)
    assert result.test_accuracy.mean() == pytest.approx(test_accuracy, abs=0.02)


@pytest.mark.slow
def test_smoothed_relu_learns_both_signs_of_both_features_by_local_steps():
    parallel, local = (outcome(draw([0], RELU), period, record=False) for period in (1, 300))
    np.testing.assert_allclose(parallel.test_accuracy, [[0.444, 0.890]], atol=0.02)
    assert not parallel.learned.any()
    assert local.test_accuracy.min() == 1
    assert local.learned.all()


@pytest.mark.parametrize(
    ("weights", "cubic", "relu"),
    [
        ([[3, 3], [0, 0], [-3, -3], [0, 0]], True, True),
        ([[3, 0], [0, 3], [0, -3], [-3, 0]], True, True),
        ([[3, 0], [0, 3], [0, 3], [3, 0]], True, False),  # filters that count negatively have to be negative
        ([[-3, 0], [0, -3], [0, 3], [3, 0]], True, False),
        ([[3, 3], [0, 0], [-3, 0], [0, 0]], True, False),  # one sign of one feature is missing
        ([[3, 0], [0, 0], [-3, -3], [0, 0]], False, False),
        ([[1, 1], [0, 0], [-3, -3], [0, 0]], True, False),  # above 0.5, not above 2
        ([[0.4, 3], [0, 0], [0, 0], [0, 0]], False, False),
    ],
)
def test_what_counts_as_a_learned_feature(weights, cubic, relu):
    """Filters by features; with the smoothed ReLU, the second half of the filters counts negatively."""
    for setting, expected in ((CUBIC, cubic), (RELU, relu)):
        setting = replace(setting, dimension=2, filters=4, samples=1, test_samples=1, steps=0)
        problem = replace(draw([0], setting), weights=np.array([weights], dtype=float))
        assert outcome(problem, 1, record=False).learned.tolist() == [expected]


@pytest.mark.parametrize(
    "setting", [replace(CUBIC, rho=0.0), replace(CUBIC, sigma=0.05), replace(CUBIC, sigma=0.05, rho=0.5)]
)
def test_without_noise_of_either_kind_parallel_steps_learn_it_too(setting):
    result = outcome(draw([0], setting), 1, record=False)
    assert result.test_accuracy.min() == 1


def test_one_local_step_is_gradient_descent_on_the_pooled_samples():
    problem = draw([0, 1], SHORT)
    np.testing.assert_allclose(train(problem, 1).weights, pooled(problem), atol=1e-14)
    assert np.abs(train(problem, 100).weights - pooled(problem)).max() > 1e-3


def test_clients_may_be_swapped():
    problem = draw([0], SHORT)
    first, second = (train(p, 100).weights for p in (problem, swapped(problem)))
    np.testing.assert_array_equal(first[..., [1, 0]], second[..., [0, 1]])
    assert (first[..., 0] != first[..., 1]).any()


@pytest.mark.parametrize("setting", [CUBIC, replace(CUBIC, rho=0.5), RELU])
def test_the_gradient_is_that_of_the_loss(setting):
    problem = draw([3], replace(setting, dimension=6, filters=4, samples=5, initial_deviation=0.7))
    weights = np.repeat(problem.weights[:, None], 2, axis=1)
    found = gradient(weights, problem.train, problem.setting)
    for index in [(0, 0, 1, 0), (0, 1, 3, 0), (0, 1, 2, 4)]:
        shift = np.zeros_like(weights)
        shift[index] = 1e-6
        slope = _losses(weights + shift, problem.train, problem.setting)
        slope -= _losses(weights - shift, problem.train, problem.setting)
        np.testing.assert_allclose(found[index], slope[index[1]] / 2e-6, rtol=1e-5, atol=1e-9)


def _losses(weights, samples: Samples, setting):
    """Return both clients' losses, patch by patch as the definition has them."""
    losses = np.zeros(2)
    for k in (0, 1):
        for y, xi in zip(samples.labels[0, k], samples.noise[0, k], strict=True):
            patches = [np.zeros_like(xi), np.zeros_like(xi), xi]
            patches[0][k], patches[1][1 - k] = y, -setting.rho * y
            output = 0.0
            for r, w in enumerate(weights[0, k]):
                for patch in patches:
                    z = float(w @ patch)
                    if setting.activation == "cubic":
                        output += z**3
                    else:
                        value = 0.0 if z <= 0 else z**3 / 3 if z < 1 else z - 2 / 3
                        output += value if r < setting.filters // 2 else -value
            losses[k] += np.log1p(np.exp(-y * output)) / len(samples.labels[0, k])
    return losses


def test_the_command_draws_its_pictures(tmp_path, capsys):
    assert main(["--out", str(tmp_path), "--seeds", "1", "--periods", "1,300"]) == 0
    for name in ("periods", "trajectories", "scores"):
        assert picture_is_drawn(tmp_path / f"{name}.png")
    assert "runs with both" in capsys.readouterr().out
    assert (tmp_path / "table.csv").read_text().startswith("H,train accuracy")


def test_a_wrong_period_is_told(capsys):
    assert main(["--periods", "1,zero"]) == 2
    assert "--periods takes whole numbers" in capsys.readouterr().err
