"""Uniform cohorts."""

from tests.server.participation.schemes import participation


def test_uniform_cohorts_are_what_they_always_were() -> None:
    scheme = participation("uniform")
    assert scheme.cohort(1, 0.1) == [2, 8, 16, 25, 29, 41, 47, 58, 82, 98]
    assert scheme.cohort(1, 0.1, "evaluation") == [0, 1, 13, 15, 36, 38, 54, 71, 78, 84]
