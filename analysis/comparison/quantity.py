"""Labels of a sweep that are values of one quantity."""

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def has_number(label: str) -> bool:
    """Return whether there is a number in a label."""
    return _NUMBER.search(label) is not None


def is_quantity(labels: Sequence[str]) -> bool:
    """Return whether labels are two or more ordered numbers of one name, such as "j4" and "j8".

    The first or the last may hold no number, such as "iid" before "nc50" and "nc10".
    """
    numbered = [label for label in labels if has_number(label)]
    values = [float(found[0]) for label in numbered if (found := _NUMBER.search(label))]
    names = {_NUMBER.sub("", label, count=1) for label in numbered}
    whole = len(numbered) == len(labels) or (
        len(numbered) == len(labels) - 1 and not (has_number(labels[0]) and has_number(labels[-1]))
    )
    return (
        whole
        and len(values) > 1
        and len(names) == 1
        and values in (sorted(values), sorted(values, reverse=True))
    )
