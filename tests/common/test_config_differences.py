"""Keys that affect the result of a run, and those that do not."""

import pytest

from common.config import Config
from common.config_differences import comparable
from common.sections import Value
from tests.common.configs import make_config

BASE = make_config({"method.mu": 0.1})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rounds", 99),
        ("device", "cpu"),
        ("dataset.root", "/elsewhere"),
        ("dataset.download", True),
        ("failures.timeout", 1.0),
        ("failures.policy", "drop"),
        ("failures.max-fraction", 0.5),
        ("run.directory", "x"),
        ("run.resume", True),
        ("runtime.name", "ray"),
        ("runtime.workers", 3),
        ("ray.address", "auto"),
        ("resources.threads-per-worker", 2),
        ("resources.gpus-per-client", 0.5),
        ("checkpoint.every", 1),
    ],
)
def test_where_and_how_long_it_runs_does_not_count(key: str, value: Value) -> None:
    other = make_config({"method.mu": 0.1, key: value})
    assert comparable(other) == comparable(BASE)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("method.mu", 0.2),
        ("method.name", "fedprox"),
        ("method.extra", 1),
        ("seed", 1),
        ("clients.count", 21),
        ("optimizer.learning-rate", 0.051),
        ("local.precision", "bfloat16"),
        ("partition.alpha", 0.6),
        ("model.name", "mlp"),
        ("batch-norm.policy", "local"),
        ("participation.name", "other"),
    ],
)
def test_what_it_computes_does(key: str, value: Value) -> None:
    other = make_config({"method.mu": 0.1, key: value})
    assert comparable(other) != comparable(BASE)


def test_a_cosine_schedule_makes_rounds_count() -> None:
    ten, twenty = (make_config({"schedule.name": "cosine", "rounds": n}) for n in (10, 20))
    assert comparable(ten) != comparable(twenty)


def test_the_order_of_the_keys_does_not_count() -> None:
    values = make_config({"method.b": 1, "method.a": 2}).flat()
    backwards = dict(reversed(values.items()))
    assert comparable(Config.from_flat(backwards)) == comparable(Config.from_flat(values))
