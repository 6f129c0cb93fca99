"""Which names bring other people's code into the rounds of a run."""

import pytest

from common.outside_code import runs_outside_code
from tests.conftest import small_config


def test_a_run_of_the_projects_own_names_has_none() -> None:
    assert not runs_outside_code(small_config(observers="drift, update-norm", method__name="fedavg"))


@pytest.mark.parametrize(
    "key",
    [
        "method__name", "model__name", "participation__name", "loss__name", "optimizer__name",
        "augmentation__name", "attack__name", "topology__name", "metrics", "observers", "tracking",
    ],
)  # fmt: skip
def test_an_object_of_a_module_is_outside_code_whatever_names_it(key: str) -> None:
    assert runs_outside_code(small_config(**{key: "package.module:Name"}))
