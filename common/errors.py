"""The errors that users meet, and the suggestions for misspelt names."""

import difflib
import sys
import traceback
from collections.abc import Iterable

# Codes of error replies, above those of Flower: a job raised, the user can mend it, a worker process died, a
# node was started again under its old id and has lost what it kept, a message is none of a server of ours.
CLIENT_FAILED, CLIENT_MISCONFIGURED, WORKER_DIED, CLIENT_FORGOT, CLIENT_REFUSED = range(1000, 1005)


class UserError(Exception):
    """An error that the user can fix: one line that says what is wrong and what to do.

    The command line prints the message without a traceback and exits with code 2.
    """


class InapplicableKeyError(UserError):
    """A key that is right, but not for this run: its feature is off, or what is named has no such parameter.

    Attributes
    ----------
    key : str
        The dotted key.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class UnknownNameError(UserError):
    """A name in the configuration that names nothing."""


class ClientFailureError(Exception):
    """A client's job failed and ``failures.policy`` says that this ends the run (exit code 1)."""


def print_error(error: UserError) -> None:
    """Print what is wrong as one line on standard error, whatever text it quotes."""
    print(f"error: {one_line(str(error))}", file=sys.stderr)


def one_line(text: str) -> str:
    """Return text with line breaks and other characters that do not print as escapes."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def described(error: BaseException) -> str:
    """Return an error of third-party code as one line, with the file and the line that raised it."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    frames = traceback.extract_tb(error.__traceback__)
    return f"{text} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else text


class DivergedError(ClientFailureError):
    """The server's model, or a method's state, is no longer finite (exit code 1)."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest of `known`, or nothing if none is near.

    A section stands for its name (``dataset`` for ``dataset.name``). Of dotted keys the same last part in
    another section is nearest, then initials (``lr`` is the ``learning-rate`` of some section), then what is
    alike in the same section, then what is alike.
    """
    choices = list(known)
    section, _, last = name.rpartition(".")
    groups = [
        [key for key in choices if key == f"{name}.name"],
        [key for key in choices if "." in key and key.rpartition(".")[2] == last],
        [key for key in choices if len(last) > 1 and _initials(key.rpartition(".")[2]) == last],
        [key for key in choices if section and key.startswith(f"{section}.")],
        choices,
    ]
    for group, cutoff in zip(groups, (0.0, 0.0, 0.0, 0.7, 0.5), strict=True):
        if matches := difflib.get_close_matches(name, group, n=1, cutoff=cutoff):
            return f"; did you mean '{matches[0]}'?"
    return ""


def _initials(words: str) -> str:
    return "".join(word[:1] for word in words.split("-"))


def unknown_name(key: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Build the error for a value of the key `key` that names nothing."""
    choices = sorted(known)
    available = ", ".join(choices)
    return UnknownNameError(f"{key}: there is no '{name}'{nearest(name, choices)} (available: {available})")


def shown(value: object, length: int = 80) -> str:
    """Return a value for a message: on one line, truncated if it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, or nesting as deep
        return "that"
    return text if len(text) <= length else f"{text[: length - 3]}..."
