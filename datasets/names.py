"""The error for a name that nobody knows."""

from collections.abc import Iterable
from difflib import get_close_matches

from common.errors import UserError


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Return a one-line error that offers the nearest of the known names, and all of them."""
    choices = sorted(known)
    nearest = get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return UserError(f"unknown {kind} {name!r}: {hint}Known: {', '.join(choices) or 'none'}.")
