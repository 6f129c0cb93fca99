"""Which names bring other people's code into the rounds of a run."""

from pathlib import Path

import pytest

from common.outside_code import clients_run_outside_code, runs_outside_code
from common.plugins import use_folders
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


@pytest.mark.parametrize(
    ("folder", "key", "of_clients"),
    [
        ("clients", "method__name", True),
        ("strategies", "method__name", False),
        ("losses", "loss__name", True),
        ("metrics", "metrics", True),
        ("participation", "participation__name", False),
        ("observers", "observers", False),
        ("plots", "", False),
    ],
)
def test_a_folder_brings_what_is_named(folder: str, key: str, of_clients: bool, tmp_path: Path) -> None:
    """A server half alone is no concern of the clients, and what nobody names does nothing."""
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "my_own.py").write_text("")
    try:
        assert not runs_outside_code(small_config(plugins=str(tmp_path)))
        config = small_config(plugins=str(tmp_path), **{key: "my-own"} if key else {})
        assert runs_outside_code(config) == bool(key)
        assert clients_run_outside_code(config) == of_clients
    finally:
        use_folders("")
