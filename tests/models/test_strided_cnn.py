"""The heads of the strided CNN."""

import pytest
import torch

from models import build_model


@pytest.mark.parametrize("head", ["random", "fixed"])
def test_a_head_that_is_not_learned_is_frozen(head):
    model = build_model("strided-cnn", (1, 8, 8), 2, {"layers": 2, "width": 4, "head": head})
    frozen = {name for name, value in model.named_parameters() if not value.requires_grad}
    assert frozen == {"classifier.weight", "classifier.bias"}


def test_a_fixed_head_sums_a_block_of_features_per_class():
    model = build_model("strided-cnn", (1, 8, 8), 3, {"layers": 1, "width": 4, "head": "fixed"})
    features = torch.arange(64.0)
    blocks = torch.stack([features[:21].sum(), features[21:42].sum(), features[42:63].sum()])
    assert torch.equal(model.classifier(features), blocks)
