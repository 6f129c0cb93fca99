from collections.abc import Iterator

import pytest

from tests.clients.conftest import batch_norm_model

__all__ = ["batch_norm_model"]


@pytest.fixture(autouse=True, scope="session")
def _user_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWERBED_CACHE", str(tmp_path_factory.mktemp("user-cache")))
        yield
