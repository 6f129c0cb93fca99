from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.shakespeare.windows import (
    Client,
    cut_out,
    deal_windows,
    sample_clients,
    small_groups_first,
    split_clients,
    window_starts,
)


@pytest.mark.parametrize(
    ("size", "fraction", "train", "test"),
    [
        (1000, 0.8, 800, 121),
        (1000, 0.9, 900, 21),
        (400, 0.8, 320, 1),
        (396, 0.8, 316, 1),
        (800, 0.9, 720, 1),
        (395, 0.8, 0, 0),
        (790, 0.9, 0, 0),
        (2, 0.8, 0, 0),
        (1, 0.8, 0, 0),
    ],
)
def test_sizes_of_train_and_test(size: int, fraction: float, train: int, test: int) -> None:
    split = split_clients([Client("a", np.arange(size))], fraction, 0.0)
    if test == 0:
        assert split == []
    else:
        assert [(len(client.train), len(client.validation), len(client.test)) for client in split] == [
            (train, 0, test)
        ]


def test_last_train_target_is_the_first_test_character_and_nothing_else_is_shared() -> None:
    # Every character of this "text" is its own position.
    text = np.arange(500)
    (starts,) = window_starts([len(text)])
    (client,) = split_clients([Client("a", starts)], 0.8, 0.0)
    last_train, first_test = client.train[-1], client.test[0]
    assert last_train + 80 == first_test
    read_in_training = set(range(last_train + 80))
    assert not read_in_training & set(range(first_test, len(text)))


@given(
    st.lists(st.integers(0, 1500), min_size=1, max_size=6),
    st.sampled_from([0.5, 0.8, 0.9]),
    st.sampled_from([0.0, 0.1, 0.3]),
)
def test_the_rules_hold_for_any_lengths(lengths: list[int], train: float, validation: float) -> None:
    starts = window_starts(lengths)
    offset = 0
    for length, windows in zip(lengths, starts, strict=True):
        assert len(windows) == max(0, length - 80)
        assert len(windows) == 0 or (windows[0] == offset and windows[-1] + 80 == offset + length - 1)
        offset += length
    clients = [Client(str(i), windows) for i, windows in enumerate(starts)]
    split = {client.key: client for client in split_clients(clients, train, validation)}
    for client in clients:
        survives = client.size - int(train * client.size) >= 80
        assert (client.key in split) == survives
        if survives:
            parts = split[client.key]
            assert len(parts.test) == client.size - int(train * client.size) - 79
            held = [part for part in (parts.train, parts.validation, parts.test) if len(part)]
            assert len(parts.train) > 0
            for earlier, later in pairwise(held):
                assert earlier[-1] + 80 == later[0]  # the inputs share no character, with 79 windows between
            whole = split_clients([client], train, 0.0)[0].train
            assert (parts.train[0], [*parts.train, *parts.validation][-1]) == (whole[0], whole[-1])


def test_validation_is_the_end_of_the_train_part() -> None:
    (client,) = split_clients([Client("a", np.arange(2000))], 0.8, 0.1)
    assert (len(client.train), len(client.validation), len(client.test)) == (1440, 1600 - 1440 - 79, 321)
    (short,) = split_clients([Client("a", np.arange(400))], 0.8, 0.1)
    assert (len(short.train), len(short.validation)) == (320, 0)


def test_dealing_puts_the_smaller_groups_first() -> None:
    groups = small_groups_first(np.arange(11), 4)
    assert [len(group) for group in groups] == [2, 3, 3, 3]
    assert np.concatenate(groups).tolist() == list(range(11))
    assert [len(group) for group in small_groups_first(np.arange(8), 4)] == [2, 2, 2, 2]


def test_leaf_iid_deals_each_window_once_in_random_order() -> None:
    clients = [Client("a", np.arange(300)), Client("b", np.arange(400, 501))]
    dealt = deal_windows(clients, 1.0, 3, np.random.default_rng(0))
    assert [client.key for client in dealt] == ["0", "1", "2"]
    assert [client.size for client in dealt] == [133, 134, 134]
    together = np.concatenate([client.starts for client in dealt])
    assert sorted(together) == [*range(300), *range(400, 501)]
    assert (np.diff(together) < 0).any()
    half = deal_windows(clients, 0.5, 3, np.random.default_rng(0))
    assert sum(client.size for client in half) == 200


def test_natural_sample_takes_whole_clients_and_cuts_the_last() -> None:
    clients = [Client(str(i), np.arange(100 * i, 100 * i + 100)) for i in range(10)]
    sampled = sample_clients(clients, 0.25, np.random.default_rng(0))
    assert [client.size for client in sampled] == [100, 100, 50]
    cut = sampled[-1]
    first = int(cut.key) * 100
    assert sorted(cut.starts) == list(range(first, first + 50))
    assert sample_clients(clients, 0.0001, np.random.default_rng(0)) == []


def test_windows_are_cut_with_the_character_after_them() -> None:
    tokens = np.arange(200, dtype=np.uint8)
    inputs, targets = cut_out(tokens, np.array([3, 119]))
    assert inputs.dtype == np.uint8
    assert targets.dtype == np.int64
    assert inputs.tolist() == [list(range(3, 83)), list(range(119, 199))]
    assert targets.tolist() == [83, 199]
    assert cut_out(tokens, np.array([], dtype=np.int64))[0].shape == (0, 80)
