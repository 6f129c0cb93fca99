import numpy as np
import pytest

from common.stragglers import steps_in_time, work_share
from tests.common.configs import make_config


def shares(fraction: float, count: int = 2000) -> np.ndarray:
    config = make_config({"stragglers.fraction": fraction})
    return np.array([work_share(config, 1 + i // 50, i % 50) for i in range(count)])


def test_without_stragglers_everybody_manages_everything() -> None:
    assert set(shares(0.0, 20)) == {1.0}


def test_a_fraction_manages_a_uniform_share() -> None:
    values = shares(0.5)
    partial = values[values < 1]
    assert len(partial) / len(values) == pytest.approx(0.5, abs=0.05)
    assert partial.min() > 0
    assert partial.mean() == pytest.approx(0.5, abs=0.05)


def test_shares_are_uniform_above_the_smallest() -> None:
    config = make_config({"stragglers.fraction": 1.0, "stragglers.smallest-share": 0.4})
    values = np.array([work_share(config, 1 + i // 50, i % 50) for i in range(2000)])
    assert 0.4 < values.min() < 0.41
    assert values.max() == pytest.approx(1, abs=0.01)
    assert values.mean() == pytest.approx(0.7, abs=0.02)


def test_it_depends_on_seed_round_and_client_alone() -> None:
    config, other = (make_config({"stragglers.fraction": 0.9, "seed": seed}) for seed in (0, 1))
    assert work_share(config, 3, 4) == work_share(config, 3, 4)
    values = {
        work_share(config, 3, 4),
        work_share(config, 4, 4),
        work_share(config, 3, 5),
        work_share(other, 3, 4),
    }
    assert len(values) > 2


@pytest.mark.parametrize(("share", "steps"), [(1.0, 10), (0.5, 5), (0.41, 5), (0.001, 1)])
def test_steps_are_whole_and_at_least_one(share: float, steps: int) -> None:
    assert steps_in_time(10, share) == steps
