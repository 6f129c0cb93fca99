import random
from collections import Counter

import numpy as np
import pytest
import torch

from common.cohort import cohort_size
from common.errors import UserError
from server.participation import Participation
from tests.common.configs import make_config


def participation(seed: int = 0, count: int = 100) -> Participation:
    return Participation(make_config({"seed": seed, "clients.count": count}))


@pytest.mark.parametrize(
    ("num_clients", "fraction", "expected"),
    [(100, 0.29, 29), (100, 0.1, 10), (10, 0.25, 3), (10, 0.24, 2), (5, 0.01, 1), (7, 1.0, 7), (1, 0.5, 1)],
)
def test_the_cohort_is_rounded_half_up_and_never_empty(
    num_clients: int, fraction: float, expected: int
) -> None:
    assert cohort_size(num_clients, fraction) == expected  # int(0.29 * 100) is 28


@pytest.mark.parametrize(
    ("num_clients", "fraction", "expected"), [(40, 0.3, 12), (100, 0.3, 30), (40, 0.2, 8), (3, 0.1, 1)]
)
def test_the_cohorts_of_fedloge(num_clients: int, fraction: float, expected: int) -> None:
    assert cohort_size(num_clients, fraction) == expected
    assert len(participation(count=num_clients).cohort(1, fraction)) == expected


def test_no_client_is_drawn_twice() -> None:
    scheme = participation()
    for server_round in range(1, 50):
        cohort = scheme.cohort(server_round, 0.3)
        assert len(cohort) == len(set(cohort)) == 30
        assert cohort == sorted(cohort)
        assert {type(client) for client in cohort} == {int}
        assert set(cohort) <= set(range(100))


def test_everybody_takes_part_at_fraction_one() -> None:
    assert participation(count=8).cohort(3, 1.0) == list(range(8))


def test_a_round_does_not_depend_on_the_rounds_before() -> None:
    fresh = participation().cohort(17, 0.1)
    used = participation()
    for server_round in (1, 2, 17, 3):
        used.cohort(server_round, 0.5)
    random.seed(1)
    assert used.cohort(17, 0.1) == fresh


def test_rounds_and_purposes_draw_their_own() -> None:
    scheme = participation()
    cohorts = {tuple(scheme.cohort(server_round, 0.1)) for server_round in range(1, 30)}
    assert len(cohorts) == 29
    assert scheme.cohort(1, 0.1, "evaluation") != scheme.cohort(1, 0.1)


def test_two_seeds_give_two_cohorts() -> None:
    # A round number as the only seed gives every experiment the same clients.
    cohorts = {tuple(participation(seed).cohort(1, 0.1)) for seed in range(10)}
    assert len(cohorts) == 10


def test_all_clients_are_equally_likely() -> None:
    scheme = participation(count=10)
    counts = Counter(client for server_round in range(2000) for client in scheme.cohort(server_round, 0.3))
    # Each count is binomial(2000, 0.3): mean 600, standard deviation 20.5.
    assert set(counts) == set(range(10))
    assert max(abs(count - 600) for count in counts.values()) < 5 * 20.5


def test_the_global_generators_are_left_alone() -> None:
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())  # type: ignore[index] # noqa: NPY002
    participation().cohort(1, 0.5)
    after = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())  # type: ignore[index] # noqa: NPY002
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])


def test_wrong_names_are_refused_before_the_first_round() -> None:
    with pytest.raises(
        UserError, match=r"participation\.name: there is no 'unifrom'; did you mean 'uniform'"
    ):
        Participation(make_config({"participation.name": "unifrom"}))
    with pytest.raises(UserError, match=r"'uniform' has no parameter 'participation\.gama'"):
        Participation(make_config({"participation.gama": 0.5}))
