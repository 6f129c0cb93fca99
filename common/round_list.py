"""Lists of rounds in the configuration."""

import re

_PART = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?")


class RoundList:
    """A set of rounds: ``"10,40-49,100-500:100"`` is 10, 40 to 49, and every hundredth from 100 to 500.

    Parameters
    ----------
    text : str
        Rounds and ranges, separated by commas; empty: none.
    key : str
        Key of the configuration, for messages.

    Raises
    ------
    ValueError
        If it is not such a list.
    """

    def __init__(self, text: str, key: str) -> None:
        self._ranges: list[range] = []
        for part in (part.strip() for part in text.split(",") if text.strip()):
            match = _PART.fullmatch(part)
            first, last, step = (int(number or 0) for number in match.groups()) if match else (0, 0, 0)
            if not match or first == 0 or (match[2] and last < first) or (match[3] and step == 0):
                raise ValueError(f"{key} must list rounds such as '10,40-49,100-500:100', not '{part}'")
            self._ranges.append(range(first, (last or first) + 1, step or 1))

    def __contains__(self, server_round: int) -> bool:
        return any(server_round in rounds for rounds in self._ranges)

    def first(self) -> int:
        """Return the first round of a list that is not empty."""
        return min(rounds.start for rounds in self._ranges)

    def __bool__(self) -> bool:
        return bool(self._ranges)
