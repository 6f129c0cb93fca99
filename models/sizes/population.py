"""The assignment of model sizes to clients."""

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from common.errors import UserError, shown
from common.randomness import numpy_generator
from common.reading import parse_json

Assignment = Literal["contiguous", "shuffled", "dynamic"]


class Population:
    """The sizes of a run's clients.

    Parameters
    ----------
    groups : sequence of str
        Sizes, one per group of clients; a size that is listed twice has twice as many clients.
    num_clients : int
        Number of clients.
    assignment : str
        ``contiguous``: floor(N / groups) clients each in the order of their ids, the remainder goes to the
        last group (Chan et al., ICLR 2024, section 5.1). ``shuffled``: groups of the same sizes, with random
        clients. ``dynamic``: every client's group is drawn again in each round, all groups equally likely
        (HeteroFL).
    seed : int
        Seed of the run.
    fixed : sequence of str, optional
        The size of every client, instead of an assignment.

    Raises
    ------
    UserError
        If there are fewer clients than groups, or not one fixed size per client.
    """

    def __init__(
        self,
        groups: Sequence[str],
        num_clients: int,
        assignment: Assignment = "contiguous",
        seed: int = 0,
        fixed: Sequence[str] | None = None,
    ) -> None:
        self.groups = tuple(groups)
        self.is_dynamic = assignment == "dynamic" and fixed is None
        self._seed = seed
        self._names = tuple(dict.fromkeys([*groups, *(fixed or ())]))
        self._drawn = (-1, np.empty(0, dtype=np.int64))  # round and codes of a dynamic assignment
        code = {name: index for index, name in enumerate(self._names)}
        self._code_of_group = np.array([code[name] for name in self.groups])
        if fixed is not None:
            if len(fixed) != num_clients:
                raise UserError(
                    f"model.size-file names {len(fixed)} clients, but clients.count is {num_clients}"
                )
            self._codes = np.array([code[name] for name in fixed])
            return
        if num_clients < len(self.groups):
            raise UserError(
                f"model.sizes has {len(self.groups)} entries for clients.count = {num_clients}:"
                " shorten the list, or take more clients"
            )
        quota = num_clients // len(self.groups)
        last = len(self.groups) - 1
        self._codes = self._code_of_group[np.minimum(np.arange(num_clients) // quota, last)]
        if assignment == "shuffled":
            self._codes = self._codes[numpy_generator(seed, "sizes", 0).permutation(num_clients)]

    @property
    def sizes(self) -> tuple[str, ...]:
        """The distinct sizes, in the order in which they were listed."""
        return tuple(dict.fromkeys(self.groups))

    def of_client(self, client_id: int, server_round: int) -> str:
        """Return a client's size in a round."""
        return self._names[int(self._in_round(server_round)[client_id])]

    def of_clients(self, server_round: int = 0) -> list[str]:
        """Return every client's size in a round, by ascending client id."""
        return [self._names[code] for code in self._in_round(server_round).tolist()]

    def has_size(self, size: str, server_round: int = 0) -> npt.NDArray[np.bool_]:
        """Return which clients have a size in a round, shape (clients,)."""
        holds: npt.NDArray[np.bool_] = self._in_round(server_round) == self._names.index(size)
        return holds

    def _in_round(self, server_round: int) -> npt.NDArray[np.int64]:
        if not self.is_dynamic:
            return self._codes
        if self._drawn[0] != server_round:
            generator = numpy_generator(self._seed, "sizes", server_round)
            drawn = generator.integers(len(self.groups), size=len(self._codes))
            self._drawn = (server_round, self._code_of_group[drawn])
        return self._drawn[1]


def read_sizes(text: str, source: str) -> list[str]:
    """Parse clients' sizes: a JSON list, or CSV lines ``client_id,size`` as in a run's ``sizes.csv``.

    Raises
    ------
    UserError
        If it is neither, or a client is missing or named twice.
    """
    if text.lstrip().startswith("["):
        values = parse_json(text, f"model.size-file: {source}")
        if not all(isinstance(value, str | int | float) for value in values):
            raise UserError(f'model.size-file: {source} must be a list of sizes, such as ["1", "0.5"]')
        return [str(value) for value in values]
    sizes: dict[int, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        client, _, size = line.partition(",")
        if client == "client_id":
            continue
        if not re.fullmatch(r"[0-9]{1,9}", client) or not size or int(client) in sizes:
            raise UserError(
                f"model.size-file: {source} has the line {shown(line)}: write client_id,size once each"
            )
        sizes[int(client)] = size.strip()
    if sorted(sizes) != list(range(len(sizes))):
        raise UserError(f"model.size-file: {source} must name the clients 0 to {len(sizes) - 1}, each once")
    return [sizes[client] for client in sorted(sizes)]
