"""Refuse allocations that exceed the memory, naming the settings that ask for them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from common.errors import UserError, one_line

# Parts of torch's and NumPy's messages when they cannot allocate an array.
_SAYS_SO = ("allocate memory", "not enough memory", "out of memory", "overflow", "too large", "too big")


@contextmanager
def within_memory(asks: str) -> Iterator[None]:
    """Turn the failure to allocate an array into one line.

    Parameters
    ----------
    asks : str
        What needs the memory, with the relevant keys: the beginning of the message.

    Raises
    ------
    UserError
        If an array is larger than the memory, or than the address space.
    """
    try:
        yield
    except (MemoryError, OverflowError) as error:
        raise UserError(_message(asks, error)) from None
    except (RuntimeError, ValueError, TypeError) as error:
        if not any(part in str(error).lower() for part in _SAYS_SO):
            raise
        raise UserError(_message(asks, error)) from None


def physical_bytes() -> int:
    """Return the memory of this machine in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _message(asks: str, error: Exception) -> str:
    reason = one_line(str(error).partition("\n")[0])
    return f"{asks}: there is not as much memory" + (f" ({reason})" if reason else "")
