"""The documentation builds as a site, with every link and anchor in order."""

import logging
from pathlib import Path

import pytest

from common.defaults import PROJECT_ROOT

pytest.importorskip("mkdocs", reason="mkdocs-material is not installed (pip install .[docs])")
pytest.importorskip("material", reason="mkdocs-material is not installed (pip install .[docs])")


def test_the_site_builds_without_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    with caplog.at_level(logging.WARNING):
        build(load_config(str(PROJECT_ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site")))
    assert not [record for record in caplog.records if record.name.startswith("mkdocs")]
    start = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert 'href="methods/"' in start
    assert "strategies/" in start
    assert "fonts.googleapis.com" not in start
    pages = {path.parent.name for path in (tmp_path / "site").rglob("index.html")}
    assert pages >= {path.stem for path in (PROJECT_ROOT / "docs").rglob("*.md")}
