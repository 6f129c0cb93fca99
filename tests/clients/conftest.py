import sys
from collections.abc import Iterator

import pytest

from models import architectures

TINY_BATCH_NORM = """
from torch import nn
from torch.nn import functional as F
from models.classifier import Classifier

class TinyBatchNorm(Classifier):
    def __init__(self, channels, num_classes):
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, kernel_size=3, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.classifier = nn.Linear(4 * 36, num_classes)

    def features(self, x):
        return F.relu(self.bn(self.conv(x))).flatten(1)

def build(input_shape, num_classes):
    return TinyBatchNorm(input_shape[0], num_classes)
"""


@pytest.fixture(autouse=True, scope="session")
def _user_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWERBED_CACHE", str(tmp_path_factory.mktemp("user-cache")))
        yield


@pytest.fixture
def batch_norm_model(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Name of a small model with BatchNorm, from a file that is added to ``models``."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "tiny_batch_norm.py").write_text(TINY_BATCH_NORM)
    monkeypatch.setattr(architectures, "__path__", [*architectures.__path__, str(folder)])
    yield "tiny-batch-norm"
    sys.modules.pop("models.architectures.tiny_batch_norm", None)
