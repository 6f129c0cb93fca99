"""Parameter counts of the papers and of their usual reproductions."""

import pytest

from models import build_model
from models.batch_norm import batch_norm_layers

CIFAR = (3, 32, 32)
MNIST = (1, 28, 28)


@pytest.mark.parametrize(
    ("name", "input_shape", "num_classes", "parameters", "count"),
    [
        ("hsu-cnn", CIFAR, 100, {}, 815_332),
        ("hsu-cnn", CIFAR, 10, {}, 797_962),
        ("hsu-cnn", CIFAR, 100, {"padding": 2}, 1_773_796),
        ("hsu-cnn", CIFAR, 10, {"padding": 2}, 1_756_426),
        ("hsu-cnn", (3, 24, 24), 100, {}, 422_116),
        ("convnext", CIFAR, 10, {"norm": "layer"}, 272_678),
        ("convnext", CIFAR, 10, {"norm": "batch"}, 272_678),
        ("convnext", CIFAR, 10, {"norm": "none"}, 271_534),
        ("lenet", CIFAR, 10, {}, 62_006),
        ("lenet", MNIST, 10, {}, 44_426),
        # MOON's: 84 to 84 to 256, and a classifier of the 256.
        ("lenet", CIFAR, 10, {"projection": 256}, 92_626),
        ("lenet", CIFAR, 100, {"projection": 256}, 115_756),
        ("resnet18", CIFAR, 10, {}, 11_173_962),
        ("resnet18", CIFAR, 100, {}, 11_220_132),
        ("resnet18", CIFAR, 10, {"norm": "group"}, 11_173_962),
        ("resnet18", CIFAR, 10, {"norm": "none"}, 11_164_362),
        ("resnet20", CIFAR, 10, {}, 269_722),
        ("resnet20", CIFAR, 10, {"shortcut": "B"}, 272_474),
        ("resnet20", CIFAR, 100, {"norm": "group"}, 275_572),
        ("resnet20", CIFAR, 100, {"shortcut": "B", "norm": "group"}, 278_324),
        ("resnet32", CIFAR, 10, {}, 464_154),
        ("resnet32", CIFAR, 10, {"shortcut": "B"}, 466_906),
        ("resnet44", CIFAR, 10, {}, 658_586),
        ("resnet44", CIFAR, 10, {"shortcut": "B"}, 661_338),
        ("resnet56", CIFAR, 10, {}, 853_018),
        ("resnet56", CIFAR, 10, {"shortcut": "B"}, 855_770),
        ("resnet110", CIFAR, 10, {}, 1_727_962),
        ("resnet1202", CIFAR, 10, {}, 19_421_274),
        ("resnet20", CIFAR, 10, {"norm": "layer"}, 269_722),
        # Two stages of widths 32 and 64, four blocks of 12 w^2 + 13 w and 49 positions a head in each;
        # patches, merging, norm, head.
        (
            "swin-small",
            CIFAR,
            10,
            {},
            4 * (12 * 32**2 + 13 * 32 + 49 * 2)
            + 4 * (12 * 64**2 + 13 * 64 + 49 * 4)
            + (12 * 32 + 32 + 2 * 32)
            + (128 * 64 + 2 * 128)
            + 2 * 64
            + 650,
        ),
        ("vgg11", CIFAR, 10, {}, 9_225_610),
        ("vgg13", CIFAR, 10, {}, 9_410_122),
        ("vgg16", CIFAR, 10, {}, 14_719_818),
        ("vgg19", CIFAR, 10, {}, 20_029_514),
        # 34 - 18 = 16 layers more: 1, 2, 4 and 1 further blocks of two 3x3 convolutions and two norms.
        ("resnet34", CIFAR, 10, {}, 11_173_962 + 73_984 + 2 * 295_424 + 4 * 1_180_672 + 4_720_640),
        # Same convolutions as torch's MNIST example: 9,216 inputs of the hidden layer on 28x28 pixels.
        ("small-cnn", MNIST, 10, {}, 320 + 18_496 + 9_216 * 128 + 128 + 1_290),
        ("small-cnn", (1, 8, 8), 10, {}, 320 + 18_496 + 256 * 128 + 128 + 1_290),
        ("mlp", (1, 8, 8), 10, {}, 64 * 64 + 64 + 650),
        # The SimpleCNN of Bao et al. 2024.
        ("strided-cnn", MNIST, 10, {"layers": 1, "width": 10}, 19_870),
        ("strided-cnn", MNIST, 10, {"layers": 2, "width": 10}, 22_380),
        ("strided-cnn", MNIST, 10, {"layers": 3, "width": 10}, 17_600),
        ("strided-cnn", MNIST, 62, {"layers": 1, "width": 20}, 243_622),
        ("strided-cnn", MNIST, 62, {"layers": 2, "width": 20}, 253_642),
        ("strided-cnn", MNIST, 62, {"layers": 3, "width": 20}, 152_162),
        ("strided-cnn", CIFAR, 10, {"layers": 1}, 105_450),
        ("strided-cnn", CIFAR, 10, {"layers": 2}, 145_490),
        ("strided-cnn", CIFAR, 10, {}, 174_370),
        ("strided-cnn", (3, 64, 64), 2, {"layers": 1}, 84_962),
        ("strided-cnn", (3, 64, 64), 2, {"layers": 2}, 125_002),
        ("strided-cnn", (3, 64, 64), 2, {}, 164_122),
        ("torchvision:resnet18", CIFAR, 2, {"outputs": 1000}, 11_689_512),
        ("torchvision:resnet18", MNIST, 2, {"outputs": 1000}, 11_683_240),
        ("torchvision:resnet18", CIFAR, 2, {"outputs": 1000, "norm": "none"}, 11_679_912),
        ("torchvision:resnet50", CIFAR, 1000, {}, 25_557_032),
        ("mlp", (7,), 3, {"hidden": 5}, 40 + 18),
        ("linear", (1, 8, 8), 10, {}, 650),
        # Chan et al. 2024, table 8; timm's vit_small_patch16_224 has 22,050,664 with 1000 classes.
        ("vit-small", (3, 224, 224), 10, {"depth": 8}, 14_571_658),
        ("vit-small", (3, 224, 224), 10, {"depth": 9}, 16_346_122),
        ("vit-small", (3, 224, 224), 10, {"depth": 10}, 18_120_586),
        ("vit-small", (3, 224, 224), 10, {"depth": 11}, 19_895_050),
        ("vit-small", (3, 224, 224), 10, {}, 21_669_514),
        ("vit-small", (3, 224, 224), 1000, {}, 22_050_664),
    ],
)
def test_parameter_count(name, input_shape, num_classes, parameters, count):
    model = build_model(name, input_shape, num_classes, parameters)

    assert sum(parameter.numel() for parameter in model.parameters()) == count


@pytest.mark.parametrize(
    ("name", "parameters", "tensors", "batch_norms"),
    [("resnet18", 11_168_832, 60, 20), ("resnet34", 21_276_992, 108, 36)],
)
def test_bodies_of_the_residual_networks(name, parameters, tensors, batch_norms):
    model = build_model(name, CIFAR, 100, {})
    body = {key: value for key, value in model.named_parameters() if not key.startswith("classifier.")}

    assert sum(value.numel() for value in body.values()) == parameters
    assert len(body) == tensors
    assert len(batch_norm_layers(model)) == batch_norms
    assert sum(value.numel() for value in model.classifier.parameters()) == 51_300
