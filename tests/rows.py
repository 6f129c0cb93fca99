"""Rows of a run directory that a comparison of two runs is about."""

import pandas as pd


def untimed(table: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that do not depend on how fast the run was."""
    return table[[name for name in table if not name.startswith("seconds")]]
