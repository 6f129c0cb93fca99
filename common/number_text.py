"""Numbers as a person reads them."""

_LONGEST = 1e7  # beyond it digits after the point say nothing: a loss that diverged may have 300 before it


def fixed(value: float, digits: int) -> str:
    """Return a number with `digits` after the point; a very large one in scientific notation."""
    return f"{value:.{digits}f}" if abs(value) < _LONGEST else f"{value:.{digits}g}"
