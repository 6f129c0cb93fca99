"""LEAF's task: from 80 characters of a client's text predict the next one.

Caldas et al., "LEAF: A Benchmark for Federated Settings", 2018. Every client has an array of windows, given
by where they start in one text; sampling, filtering and splitting act on these arrays, and only the windows
that remain are cut out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LENGTH = 80
# Windows that are discarded at a cut, so that the inputs on its two sides have no character in common.
GAP = LENGTH - 1

IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Client:
    """A client and where its windows start, in the order of its text."""

    key: str
    starts: IndexArray

    @property
    def size(self) -> int:
        """Number of windows."""
        return len(self.starts)


@dataclass(frozen=True)
class SplitClient:
    """A client's windows after the cuts; `validation` is empty if none is held out."""

    key: str
    size: int
    train: IndexArray
    validation: IndexArray
    test: IndexArray


def window_starts(lengths: Sequence[int]) -> list[IndexArray]:
    """Return where the windows of each text start, for concatenated texts of these lengths.

    A text of ``length`` characters has ``length - 80`` windows (or none), since each has a target after it.
    """
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return [
        np.arange(offset, offset + max(0, length - LENGTH), dtype=np.int64)
        for offset, length in zip(offsets, lengths, strict=False)
    ]


def split_by_time(size: int, fraction: float) -> tuple[int, int]:
    """Cut `size` consecutive windows: return the size of the first part and where the second starts.

    The first part is ``max(1, int(fraction * size))`` windows; 79 windows are left out before the second,
    which has none if its start is `size` or more.
    """
    first = 1 if size == 2 else max(1, int(fraction * size))
    return first, first + GAP


def split_clients(
    clients: Sequence[Client], train_fraction: float, validation_fraction: float
) -> list[SplitClient]:
    """Split every client by time into train, validation (the end of the train part) and test.

    Clients without a test window are dropped. One whose train part is too short to spare validation
    windows keeps it whole.
    """
    split = []
    for client in clients:
        num_train, test_start = split_by_time(client.size, train_fraction)
        if client.size < 2 or test_start >= client.size:
            continue
        train, validation = client.starts[:num_train], client.starts[:0]
        if validation_fraction > 0:
            kept, validation_start = split_by_time(num_train, 1 - validation_fraction)
            if validation_start < num_train:
                train, validation = train[:kept], train[validation_start:]
        split.append(SplitClient(client.key, client.size, train, validation, client.starts[test_start:]))
    return split


def sample_clients(
    clients: Sequence[Client], fraction: float, generator: np.random.Generator
) -> list[Client]:
    """Sample as LEAF's ``-s niid``: whole clients in random order until a fraction of all windows is reached.

    The last client is cut to the number of windows still missing: its first ones, randomly permuted.
    """
    missing = int(fraction * sum(client.size for client in clients))
    sampled = []
    for index in generator.permutation(len(clients)):
        client = clients[index]
        if missing <= 0:
            break
        if client.size > missing:
            client = Client(client.key, generator.permutation(client.starts[:missing]))
        sampled.append(client)
        missing -= client.size
    return sampled


def deal_windows(
    clients: Sequence[Client], fraction: float, num_clients: int, generator: np.random.Generator
) -> list[Client]:
    """Sample as LEAF's ``-s iid``: a fraction of all windows in random order, dealt to new clients.

    LEAF then splits these "by time" like the natural ones, although their windows are shuffled:
    train and test windows of one passage overlap by up to 79 characters, and accuracies come out too high.
    """
    windows = np.concatenate([client.starts for client in clients])
    chosen = generator.permutation(windows)[: int(fraction * len(windows))]
    return [Client(str(i), part) for i, part in enumerate(small_groups_first(chosen, num_clients))]


def small_groups_first(items: IndexArray, num_groups: int) -> list[IndexArray]:
    """Cut an array into contiguous groups whose sizes differ by at most one, the smaller ones first."""
    size, larger = divmod(len(items), num_groups)
    sizes = [size] * (num_groups - larger) + [size + 1] * larger
    return np.split(items, np.cumsum(sizes)[:-1])


def cut_out(tokens: npt.NDArray[np.uint8], starts: IndexArray) -> tuple[npt.NDArray[np.uint8], IndexArray]:
    """Return the windows that start at `starts`, uint8 (windows, 80), and the token after each, int64."""
    if len(starts) == 0:
        return np.empty((0, LENGTH), dtype=np.uint8), np.empty(0, dtype=np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(tokens, LENGTH)[starts]
    return windows, tokens[starts + LENGTH].astype(np.int64)
