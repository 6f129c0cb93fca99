import math
from itertools import chain

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.local.batches import iterate_batches
from common.budget import num_steps
from common.errors import UserError
from common.sections import LocalSection, Value
from tests.common.configs import make_config

LOCAL = make_config().local


def local(batch_size: int, **budget: int) -> LocalSection:
    return LOCAL.model_copy(update={"epochs": 0, "steps": 0, "batch_size": batch_size, **budget})


def batches(num_examples: int, section: LocalSection, seed: int = 0) -> list[list[int]]:
    indices = torch.arange(num_examples) * 7 + 3  # not the positions themselves
    generator = torch.Generator().manual_seed(seed)
    return [batch.tolist() for batch in iterate_batches(indices, section, generator)]


@settings(max_examples=80)
@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 4), st.integers(0, 5))
def test_each_sample_is_used_once_per_epoch(n: int, size: int, epochs: int, seed: int) -> None:
    section = local(size, epochs=epochs)
    result = batches(n, section, seed)
    per_epoch = math.ceil(n / size)
    assert len(result) == num_steps(section, n) == epochs * per_epoch
    for epoch in range(epochs):
        part = result[epoch * per_epoch : (epoch + 1) * per_epoch]
        assert sorted(chain(*part)) == [7 * i + 3 for i in range(n)]
        assert [len(batch) for batch in part[:-1]] == [size] * (per_epoch - 1)
        assert len(part[-1]) == n - size * (per_epoch - 1)


@settings(max_examples=80)
@given(st.integers(1, 30), st.integers(1, 40), st.integers(1, 25), st.integers(0, 5))
def test_the_number_of_steps_is_exact(n: int, size: int, steps: int, seed: int) -> None:
    section = local(size, steps=steps)
    result = batches(n, section, seed)
    assert len(result) == num_steps(section, n) == steps
    per_epoch = math.ceil(n / size)
    for start in range(0, steps, per_epoch):
        seen = list(chain(*result[start : start + per_epoch]))
        assert len(set(seen)) == len(seen)
        if start + per_epoch <= steps:
            assert len(seen) == n


def test_a_last_batch_of_one_is_kept() -> None:
    assert [len(batch) for batch in batches(9, local(4, epochs=2))] == [4, 4, 1, 4, 4, 1]


def test_a_client_smaller_than_a_batch_uses_all_it_has() -> None:
    result = batches(3, local(16, steps=4))
    assert [sorted(batch) for batch in result] == [[3, 10, 17]] * 4
    assert [len(batch) for batch in batches(1, local(16, epochs=3))] == [1, 1, 1]


def test_the_data_are_shuffled_anew_when_they_are_exhausted() -> None:
    result = batches(40, local(40, epochs=3))
    assert result[0] != sorted(result[0])
    assert len({tuple(batch) for batch in result}) == 3


def test_the_generator_decides() -> None:
    section = local(8, epochs=2)
    assert batches(40, section, 1) == batches(40, section, 1)
    assert batches(40, section, 1) != batches(40, section, 2)


def test_fewer_steps_are_a_prefix_of_more() -> None:
    assert batches(20, local(3, steps=9))[:4] == batches(20, local(3, steps=4))


def test_the_indices_are_not_written_to() -> None:
    indices = torch.arange(10)
    list(iterate_batches(indices, local(3, epochs=2), torch.Generator().manual_seed(0)))
    assert indices.tolist() == list(range(10))


def test_a_last_batch_of_one_sample_can_be_skipped() -> None:
    skip = local(4, epochs=2).model_copy(update={"single_sample_batches": "skip"})
    assert [len(batch) for batch in batches(9, skip)] == [4, 4] * 2
    assert [len(batch) for batch in batches(9, local(4, epochs=2))] == [4, 4, 1] * 2
    assert [len(batch) for batch in batches(10, skip)] == [4, 4, 2] * 2
    assert [len(batch) for batch in batches(8, skip)] == [4, 4] * 2
    assert batches(1, skip) == [[3]] * 2  # it has no other sample
    in_steps = local(4, steps=5).model_copy(update={"single_sample_batches": "skip"})
    assert [len(batch) for batch in batches(9, in_steps)] == [4] * 5
    for n in range(1, 30):
        assert len(batches(n, skip)) == num_steps(skip, n)


def test_a_last_smaller_batch_can_be_left_out() -> None:
    drop = local(4, epochs=2).model_copy(update={"drop_last": True})
    assert [len(batch) for batch in batches(11, drop)] == [4, 4] * 2
    assert [len(batch) for batch in batches(8, drop)] == [4, 4] * 2
    assert [len(batch) for batch in batches(3, drop)] == [3] * 2  # there is no full one
    in_steps = local(4, steps=5).model_copy(update={"drop_last": True})
    assert [len(batch) for batch in batches(11, in_steps)] == [4] * 5
    a, b, c, d = batches(11, drop)
    assert {*a, *b} != {*c, *d}  # other samples in each pass
    for n in range(1, 30):
        assert len(batches(n, drop)) == num_steps(drop, n)


def test_leaving_it_out_needs_passes_of_a_round() -> None:
    with pytest.raises(UserError, match=r"local.drop-last needs local.sampling = 'client'"):
        make_config({"local.drop-last": True, "local.sampling": "shard"})


@pytest.mark.parametrize("other", [{"local.batch-size": 1}, {"local.sampling": "shard"}])
def test_what_skipping_does_not_go_with(other: dict[str, Value]) -> None:
    with pytest.raises(UserError, match="single-sample-batches = 'skip' needs"):
        make_config({"local.single-sample-batches": "skip", **other})
