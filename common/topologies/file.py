"""Links from a file: two client numbers in each line, from 0, that exchange models."""

import re

import numpy as np

from common.errors import UserError, shown
from common.files import expanded, read_text
from common.topologies import Links, undirected_links

_PAIR = re.compile(r"\s*(\d{1,9})\s*[,;\s]\s*(\d{1,9})\s*")


def links(num_clients: int, generator: np.random.Generator, *, file: str = "") -> Links:
    """Return the links of a file with lines such as ``0 1``, separated by a comma or a space.

    Blank lines and text after a ``#`` are ignored. Links go both ways.
    """
    if not file:
        raise UserError(
            "topology.name 'file' needs topology.file, a file with two client numbers in each line"
        )
    text = read_text(expanded(file, "topology.file"), "topology.file")
    pairs = []
    for number, line in enumerate(text.splitlines(), start=1):
        if content := line.partition("#")[0].strip():
            pairs.append(_pair(content, f"topology.file: line {number} of {file}", num_clients))
    return undirected_links(num_clients, pairs)


def _pair(content: str, place: str, num_clients: int) -> tuple[int, int]:
    match = _PAIR.fullmatch(content)
    if not match:
        raise UserError(f"{place} must be two client numbers such as '0 1', not {shown(content)}")
    first, second = int(match[1]), int(match[2])
    if max(first, second) >= num_clients:
        raise UserError(
            f"{place} names client {max(first, second)}, but the clients of clients.count = {num_clients} are"
            f" 0 to {num_clients - 1}"
        )
    if first == second:
        raise UserError(f"{place} links client {first} to itself: remove the line")
    return first, second
