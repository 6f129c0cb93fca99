"""Lists of names in one line."""

from collections.abc import Sequence


def named(names: Sequence[object], separator: str = ", ", most: int = 4) -> str:
    """Return the names, of many the first `most` and how many more there are."""
    left_out = f" and {len(names) - most} more" if len(names) > most else ""
    return separator.join(map(str, names[:most])) + left_out
