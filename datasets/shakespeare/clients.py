"""From roles to clients: which roles are one client, and the client's text."""

import re
from collections.abc import Iterable
from typing import Literal

from datasets.shakespeare.roles import Role

ClientUnit = Literal["play-role", "role"]
# LEAF leaves out roles with this number of lines or fewer.
_TOO_FEW_LINES = 2


def group_by_client(roles: Iterable[Role], unit: ClientUnit) -> list[Role]:
    """Return one role per client: each role by itself, or those of one name merged across plays."""
    if unit == "play-role":
        return list(roles)
    merged: dict[str, Role] = {}
    for role in roles:
        merged.setdefault(role.name, Role("", role.name)).speeches.extend(role.speeches)
    return list(merged.values())


def client_key(role: Role) -> str:
    """Return LEAF's key of a client: play and role, with ``_`` for whatever is not a word character."""
    name = f"{role.play}_{role.name}" if role.play else role.name
    return re.sub(r"\W+", "_", name.replace(" ", "_"))


def client_text(role: Role) -> str:
    """Return everything that a client says as one text: lines joined by spaces, runs of spaces collapsed.

    Empty for roles that LEAF leaves out, which have two lines or fewer.
    """
    lines = [line for speech in role.speeches for line in speech]
    if len(lines) <= _TOO_FEW_LINES:
        return ""
    return re.sub("  +", " ", "".join(f"{line} " for line in lines))
