import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _user_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWERBED_CACHE", str(tmp_path_factory.mktemp("user-cache")))


@pytest.fixture
def canonical_root() -> Path:
    root = os.environ.get("FLOWERBED_TEST_DATA")
    if not root:
        pytest.skip("FLOWERBED_TEST_DATA does not point to a folder with the canonical data sets")
    return Path(root)
