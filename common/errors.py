"""The two kinds of error a person meets, and how a misspelt name is answered."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend: one line that says what is wrong and what to do.

    The command line prints the message without a traceback and exits with code 2.
    """


class UnknownNameError(UserError):
    """A name in the configuration that names nothing."""


class ClientFailureError(Exception):
    """A client's job failed and ``failures.policy`` says that this ends the run (exit code 1)."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest of `known`, or nothing if none is near."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{matches[0]}'?" if matches else ""


def unknown_name(key: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Build the error for a value of the key `key` that names nothing."""
    choices = sorted(known)
    available = ", ".join(choices)
    return UnknownNameError(f"{key}: there is no '{name}'{nearest(name, choices)} (available: {available})")
