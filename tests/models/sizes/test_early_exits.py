"""Early exits: what sub-models of less depth and width hold and compute."""

import pytest
import torch
from torch import nn

from common.errors import UserError
from models import build_model
from models.architectures.stage_resnet import StageResNet
from models.batch_norm import batch_norm_layers, recalibrate
from models.sizes.early_exits import MultiExit, outputs_with
from models.sizes.submodels import SubModels, parse_sizes
from strategies._inco_targets import inco_targets

LEVELS = ("d1w0.7", "d2w0.7", "d3w0.75", "d4")


def multi_exit(**parameters: object) -> StageResNet:
    keys = {"width": 4, "exits": "6,8,10", **parameters}
    model = build_model("stage-resnet", (3, 16, 16), 5, keys)  # type: ignore[arg-type]
    assert isinstance(model, StageResNet)
    return model


def of_size(model: StageResNet, size: str) -> MultiExit:
    part = model.submodel(model.size_name(size))
    assert isinstance(part, MultiExit)
    return part


def test_mean_count_of_the_four_levels() -> None:
    model = build_model("stage-resnet", (3, 32, 32), 10, {"exits": "6,8,10"})
    assert isinstance(model, StageResNet)
    counts = [sum(v.numel() for v in of_size(model, size).parameters()) for size in LEVELS]
    assert round(sum(counts) / 4e6, 2) == 9.96
    # The whole model is ResNet26 and three heads of three convolutions, norms and a layer for ten classes.
    heads = sum(3 * (9 * c * c + 2 * c) + 10 * c + 10 for c in (128, 256, 512))
    assert counts[-1] == 17_452_362 + heads


def test_widths_are_rounded_down() -> None:
    model = multi_exit(width=16)
    assert tuple(of_size(model, "d4w0.7").widths) == (11, 22, 44, 89)  # type: ignore[arg-type]
    assert tuple(of_size(multi_exit(width=10), "d4w0.7").widths) == (7, 14, 28, 56)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", ["d1", "d2", "d3w0.5", "d4w0.5", "d1w0.25", "d4"])
def test_a_level_is_a_selection_of_the_server_model(size: str) -> None:
    model = multi_exit()
    name = model.size_name(size)
    state, part = model.state_dict(), of_size(model, size).state_dict()
    held = SubModels(model, [name]).selection(name).take(state)
    assert list(held) == list(part)
    assert all(torch.equal(held[key], value) for key, value in part.items())
    level = int(size[1])
    assert {key.split(".")[1] for key in part if key.startswith("exits.")} == set("012"[:level])
    assert ("classifier.weight" in part) == (level == 4)
    blocks = [key for key in part if key.endswith("conv1.weight") and key.startswith("layer")]
    assert len(blocks) == {1: 6, 2: 8, 3: 10, 4: 12}[level]


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_a_level_gives_the_first_outputs_of_the_whole_model(level: int) -> None:
    model, images = multi_exit().eval(), torch.rand(3, 3, 16, 16)
    whole, part = model.outputs(images), of_size(model, f"d{level}").eval()
    assert len(whole) == model.num_levels == 4
    assert part.num_levels == len(part.outputs(images)) == level
    for mine, expected in zip(part.outputs(images), whole, strict=False):
        assert torch.equal(mine, expected)
    assert torch.equal(part(images), whole[level - 1])
    state = {name: torch.zeros_like(value) for name, value in part.named_parameters()}
    assert all(not output.any() for output in outputs_with(part, state, images))
    head = part.get_submodule(f"exits.{level - 1}.classifier" if level < 4 else "classifier")
    assert torch.equal(head(part.features(images)), part(images))


def test_every_parameter_of_a_level_has_a_gradient() -> None:
    for size in LEVELS:
        part = of_size(multi_exit(), size)
        sum(output.square().sum() for output in part.outputs(torch.rand(4, 3, 16, 16))).backward()  # type: ignore[union-attr]
        assert all(value.grad is not None for value in part.parameters()), size


@pytest.mark.parametrize("training", [True, False])
def test_the_scaler_stands_behind_every_convolution_and_always_divides(training: bool) -> None:
    part = of_size(multi_exit(), "d2w0.5").train(training)
    outputs: list[torch.Tensor] = []
    inputs: list[torch.Tensor] = []
    for module in part.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, __, output: outputs.append(output))
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    part.outputs(torch.rand(8, 3, 16, 16))
    assert len(outputs) == len(inputs) == 1 + 8 * 2 + 2 + 2 * 3
    for output, given in zip(outputs, inputs, strict=True):
        torch.testing.assert_close(given, output * 2)


def test_recalibration_reaches_the_exits() -> None:
    part = of_size(multi_exit(), "d3")
    recalibrate(part, torch.rand(64, 3, 16, 16), lambda x: x, 32, torch.device("cpu"))
    assert [int(layer.num_batches_tracked) for layer in batch_norm_layers(part)] == [2] * (1 + 20 + 3 + 9)  # type: ignore[arg-type]


def test_exits_are_no_targets_of_inco() -> None:
    def targets(model: nn.Module) -> dict[str, str]:
        return inco_targets({name: tuple(value.shape) for name, value in model.state_dict().items()})

    assert targets(multi_exit()) == targets(build_model("stage-resnet", (3, 16, 16), 5, {"width": 4}))
    assert len(targets(multi_exit())) == 16


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ("d5", "'d5' ends at head 5, but the model has 4: model.exits lists"),
        ("d0w0.5", "'d0w0.5' ends at head 0"),
        ("d2w1.5", "a width is above 0 and at most 1, not 'd2w1.5'"),
        ("d2w0", "a width is above 0"),
        ("resnet10", "a model with early exits has sizes such as d1w0.7 to d4, not 'resnet10'"),
        ("w0.5", "a model with early exits has sizes"),
    ],
)
def test_impossible_sizes_are_refused_in_one_line(sizes: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_sizes(multi_exit(), sizes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("exits", ["12", "0", "8,6", "6,6", "a", "-1"])
def test_impossible_exits_are_refused(exits: str) -> None:
    with pytest.raises(UserError, match=r"model\.exits of 'stage-resnet' lists numbers of blocks"):
        multi_exit(exits=exits)


def test_sizes_have_one_name_each() -> None:
    assert parse_sizes(multi_exit(), "d1w.70, d4w1,d2") == ("d1w0.7", "d4", "d2")
    plain = build_model("stage-resnet", (3, 16, 16), 5, {"width": 4})
    assert parse_sizes(plain, "d1,d1w0.5") == ("d1", "d1w0.5")
