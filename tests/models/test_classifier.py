"""Projections between features and head."""

import pytest
import torch
from torch.nn import functional as F

from common.errors import UserError
from models import build_model
from models.classifier import BatchNormalized, Classifier, as_classifier


@pytest.fixture
def model() -> Classifier:
    """A model of 6 features whose BatchNorm has seen something."""
    built = as_classifier(build_model("mlp", (1, 3, 3), 4, {"hidden": 6, "features": "batch-normalized"}, 0))
    generator = torch.Generator().manual_seed(0)
    assert isinstance(built.projection, BatchNormalized)
    norm = built.projection.norm
    with torch.no_grad():
        for value in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            assert value is not None
            value.uniform_(0.5, 2.0, generator=generator)
    return built.eval()


def test_batch_normalized_features_are_normalized_once(model: Classifier) -> None:
    inputs = torch.randn(5, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    norm = model.projection.norm  # type: ignore[union-attr]
    features = model.features(inputs)
    standard = (features - norm.running_mean) / (norm.running_var + norm.eps).sqrt()  # type: ignore[operator, union-attr]
    directions = F.normalize(standard * norm.weight + norm.bias, dim=1)  # type: ignore[operator, union-attr]
    torch.testing.assert_close(model.embed(inputs), directions)
    torch.testing.assert_close(model(inputs), directions @ model.classifier.weight.T + model.classifier.bias)


def test_batch_normalized_features_do_not_depend_on_the_batch(model: Classifier) -> None:
    inputs = torch.randn(8, 1, 3, 3, generator=torch.Generator().manual_seed(2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    together = model.embed(inputs)
    alone = torch.cat([model.embed(part) for part in inputs.split(1)])
    torch.testing.assert_close(together, alone)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    model.train()
    assert not torch.allclose(model.embed(inputs), together, atol=1e-3)


def test_a_model_that_shows_no_features_is_told_what_to_do() -> None:
    with pytest.raises(UserError, match=r"Linear does not show them: .*models\.classifier\.Classifier"):
        as_classifier(torch.nn.Linear(2, 3))
