"""The natural clients of a data set in LEAF's layout."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from datasets.client_data.natural import by_size

_ByUser = Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Owners:
    """The clients, largest first, and the number of each sample's client.

    Attributes
    ----------
    names : tuple of str
        The users of the training set.
    train, test : array
        int64, (samples,). None for a test set of unseen users, as LEAF's ``-t user`` makes it.
    """

    names: tuple[str, ...]
    train: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64] | None

    @classmethod
    def of(cls, train: _ByUser, test: _ByUser, dataset: str) -> "Owners":
        """Assign numbers to the users; `train` and `test` map each user to its number of samples, in order.

        Raises
        ------
        UserError
            If some test users, but not all of them, have no training sample.
        """
        names = by_size(train)
        number = {name: index for index, name in enumerate(names)}
        strangers = [name for name in test if name not in number]
        if strangers and len(strangers) < len(test):
            raise UserError(
                f"dataset '{dataset}', test: user '{strangers[0]}' has no training sample, and others have"
            )
        return cls(names, _repeated(train, number), None if strangers else _repeated(test, number))

    @property
    def remarks(self) -> tuple[str, ...]:
        """Notes for the user."""
        if self.test is None:
            return ("the test set is of other users than the training set",)
        return ()


def _repeated(counts: _ByUser, number: Mapping[str, int]) -> npt.NDArray[np.int64]:
    return np.repeat(np.array([number[name] for name in counts], dtype=np.int64), list(counts.values()))
