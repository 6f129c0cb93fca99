import gc
import sys
from collections.abc import Iterator

import pytest

from common.imports import importing


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def test_no_garbage_is_looked_for_meanwhile_and_what_is_made_is_left_alone() -> None:
    before = gc.get_freeze_count()
    with importing("no_such_module"):
        assert not gc.isenabled()
        made = [[] for _ in range(10)]  # type: ignore[var-annotated]
    assert gc.isenabled()
    assert gc.get_freeze_count() > before
    assert not any(found is made[0] for found in gc.get_objects())


def test_it_goes_on_after_an_import_that_fails() -> None:
    with pytest.raises(ImportError), importing("no_such_module"):
        raise ImportError
    assert gc.isenabled()


@pytest.mark.parametrize("name", ["sys", "no_such_module"])
def test_nothing_changes_for_a_module_that_is_there_or_where_it_is_off(name: str) -> None:
    before, is_there = gc.get_freeze_count(), name in sys.modules
    if not is_there:
        gc.disable()
    with importing(name):
        assert gc.isenabled() == is_there
    assert gc.isenabled() == is_there
    assert gc.get_freeze_count() == before
