"""Human-readable numbers."""

_LONGEST = 1e7  # above it decimals are meaningless: a diverged loss may have 300 digits before the point


def fixed(value: float, digits: int) -> str:
    """Return a number with `digits` decimals; a very large one in scientific notation."""
    return f"{value:.{digits}f}" if abs(value) < _LONGEST else f"{value:.{digits}g}"
