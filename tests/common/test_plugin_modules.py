"""Modules of plug-in folders in a process that lives on while their files are edited."""

import functools
import sys
import types
from pathlib import Path

from common import plugin_modules
from common.plugin_modules import forget_changed, import_from


def test_an_edited_file_is_read_again_with_those_that_use_it(tmp_path: Path) -> None:
    (tmp_path / "clients").mkdir()
    helper, user = tmp_path / "clients" / "helper.py", tmp_path / "clients" / "user.py"
    helper.write_text("VALUE = 1\n")
    user.write_text("from .helper import VALUE\n")
    first = import_from(tmp_path, "clients.user")
    forget_changed()
    assert import_from(tmp_path, "clients.user") is first  # nothing has changed
    for number in (2, 3):  # within a second, and of the same length
        helper.write_text(f"VALUE = {number}\n")
        forget_changed()
        found = import_from(tmp_path, "clients.user").VALUE
        assert found == number
    assert not list(tmp_path.rglob("*.pyc"))


def test_what_functions_have_cached_goes_with_it(tmp_path: Path) -> None:
    (tmp_path / "clients").mkdir()
    file = tmp_path / "clients" / "mine.py"
    file.write_text("VALUE = 1\n")
    module = types.ModuleType("of_the_project")
    module.__file__ = str(plugin_modules._PROJECT / "of_the_project.py")
    module.value = functools.lru_cache(lambda: import_from(tmp_path, "clients.mine").VALUE)  # type: ignore[attr-defined]
    sys.modules["of_the_project"] = module
    try:
        assert module.value() == 1
        file.write_text("VALUE = 2\n")
        assert module.value() == 1
        forget_changed()
        assert module.value() == 2
        file.unlink()
        forget_changed()
    finally:
        del sys.modules["of_the_project"]
