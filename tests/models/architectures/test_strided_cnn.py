"""The heads and the activations of the strided CNN."""

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


@pytest.mark.parametrize("negative", [(0, 1), (1, 2), (2,)])
def test_a_relu_follows_every_convolution(negative):
    """What a convolution makes negative is lost, even if the next one would turn its sign back."""
    model = build_model("strided-cnn", (1, 8, 8), 2, {"layers": 3, "width": 1})
    images = torch.arange(1.0, 65).view(1, 1, 8, 8)
    with torch.no_grad():
        for convolution in model.convolutions:
            convolution.weight.zero_()
            convolution.weight[:, :, 2, 2] = 1
            convolution.bias.zero_()
        # Identities with strides 2, 1, 2, the last of which doubles the channels.
        assert model.features(images).tolist() == [2 * images[0, 0, ::4, ::4].flatten().tolist()]
        for layer in negative:
            model.convolutions[layer].weight.neg_()
        assert not model.features(images).any()
