import random

import numpy as np
import torch

from common.randomness import numpy_generator, torch_generator, torch_seed, torch_seeds


def draws(seed: int, *keys: int) -> list[int]:
    return torch.randint(2**62, (4,), generator=torch_generator(seed, "shuffle", *keys)).tolist()


def test_the_same_key_gives_the_same_numbers_whenever_it_is_asked() -> None:
    first = draws(0, 3, 5)
    draws(1, 3, 5)
    numpy_generator(0, "shuffle", 3, 5).random(100)
    assert draws(0, 3, 5) == first
    assert np.array_equal(numpy_generator(0, "init").random(3), numpy_generator(0, "init").random(3))


def test_each_part_of_the_key_counts() -> None:
    keys = [(s, r, c) for s in range(4) for r in range(4) for c in range(4)]
    assert len({torch_seed(s, "shuffle", r, c) for s, r, c in keys}) == len(keys)
    purposes = ["partition", "validation", "init", "participation", "shuffle", "augment", "dropout", "noise"]
    assert len({torch_seed(0, purpose, 1, 2) for purpose in purposes}) == len(purposes)  # type: ignore[arg-type]
    assert torch_seed(0, "shuffle", 1, 2) != torch_seed(0, "shuffle", 2, 1)


def test_seeds_of_many_are_those_of_each() -> None:
    clients = [0, 7, 99_999, 2**32 - 1]
    for seed in (0, 3, 2**40):
        assert torch_seeds(seed, "dropout", 12, clients) == [
            torch_seed(seed, "dropout", 12, client) for client in clients
        ]


def test_the_streams_are_the_same_on_every_machine() -> None:
    # Recorded once: a change of these numbers changes every result that was ever published.
    assert torch_seed(0, "init") == 7290039654019473914
    assert numpy_generator(1, "participation", 7).integers(1000, size=3).tolist() == [393, 297, 738]


def test_a_seed_fits_into_torch() -> None:
    seeds = [torch_seed(seed, "noise", seed) for seed in range(200)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**60


def test_numbers_of_neighbouring_keys_are_uncorrelated() -> None:
    samples = np.stack([numpy_generator(0, "noise", client).standard_normal(2000) for client in range(6)])
    correlation = np.corrcoef(samples) - np.eye(6)
    assert np.abs(correlation).max() < 0.1


def test_the_global_generators_are_left_alone() -> None:
    before = (random.getstate(), np.random.get_state(), torch.get_rng_state())  # noqa: NPY002
    torch_generator(0, "init").get_state()
    numpy_generator(0, "init").random()
    after = (random.getstate(), np.random.get_state(), torch.get_rng_state())  # noqa: NPY002
    assert before[0] == after[0]
    assert np.array_equal(before[1][1], after[1][1])
    assert torch.equal(before[2], after[2])
