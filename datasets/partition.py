"""Which client holds which samples: one array of indices, and the offset of each client."""

import functools
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Partition(Sequence[IndexArray]):
    """The clients' indices, concatenated: two arrays, however many clients there are.

    As a sequence it has one int64 array per client, a view that is made on access.

    Attributes
    ----------
    indices : numpy.ndarray
        int64: the samples of client 0, then those of client 1, and so on.
    offsets : numpy.ndarray
        int64, (clients + 1,): client k holds ``indices[offsets[k]:offsets[k + 1]]``.
    """

    indices: IndexArray
    offsets: IndexArray

    @classmethod
    def of_sizes(cls, indices: IndexArray, sizes: npt.ArrayLike) -> "Partition":
        """Cut indices into one piece per client; the sizes add up to the number of indices."""
        ends = np.cumsum(np.asarray(sizes, dtype=np.int64))
        return cls(np.asarray(indices, dtype=np.int64), np.concatenate([np.zeros(1, np.int64), ends]))

    @classmethod
    def of(cls, parts: Iterable[IndexArray]) -> "Partition":
        """Concatenate the clients' arrays; a partition is returned unchanged."""
        if isinstance(parts, cls):
            return parts
        listed = list(parts)
        together = np.concatenate(listed) if listed else np.empty(0, np.int64)
        return cls.of_sizes(together, [len(part) for part in listed])

    @classmethod
    def of_owners(cls, owners: IndexArray, num_clients: int) -> "Partition":
        """Assign sample i to client ``owners[i]``; every client's samples are sorted."""
        sizes = np.bincount(owners, minlength=num_clients)
        return cls.of_sizes(np.argsort(owners, kind="stable"), sizes)

    @property
    def sizes(self) -> IndexArray:
        """The number of samples of every client."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> IndexArray:
        """The client of each entry of ``indices``."""
        return np.repeat(np.arange(len(self)), self.sizes)

    @functools.cached_property
    def sha256(self) -> str:
        """A hash of every client's indices in client order, the same on every platform.

        It is over each client's number of samples, then the samples, as little-endian int64.
        """
        values = np.insert(self.indices, self.offsets[:-1], self.sizes)
        return hashlib.sha256(values.astype("<i8").tobytes()).hexdigest()

    def sorted(self) -> "Partition":
        """Return the partition in which every client's samples are sorted."""
        if not len(self.indices):
            return self
        span = int(self.indices.max()) + 1
        return Partition(np.sort(self.owners * span + self.indices) % span, self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, client: int) -> IndexArray: ...
    @overload
    def __getitem__(self, client: slice) -> list[IndexArray]: ...
    def __getitem__(self, client: int | slice) -> IndexArray | list[IndexArray]:
        if isinstance(client, slice):
            return [self[k] for k in range(len(self))[client]]
        k = range(len(self))[client]
        return self.indices[self.offsets[k] : self.offsets[k + 1]]

    def __iter__(self) -> Iterator[IndexArray]:
        return (self[k] for k in range(len(self)))
