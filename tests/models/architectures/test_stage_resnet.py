"""The ResNet of InCo Aggregation and its sub-models against the counts of the paper's tables 7 and 9."""

import pytest
import torch
from torch import nn

from common.errors import UserError
from models import build_model
from models.sizes.submodels import Splittable, SubModels, as_splittable, parse_sizes

COUNTS = {  # size: parameters with 3 and with 1 input channels, entries, multiply-accumulates on 32x32
    "resnet10": (4_910_922, 4_904_650, 74, 18_142_208),
    "resnet14": (10_812_234, 10_805_962, 98, 27_579_392),
    "resnet18": (11_181_642, 11_175_370, 122, 37_016_576),
    "resnet22": (17_082_954, 17_076_682, 146, 46_453_760),
    "resnet26": (17_452_362, 17_446_090, 170, 55_890_944),
}
WIDTHS = {"a": 17_452_362, "b": 4_370_090, "c": 1_096_026, "d": 275_762, "e": 69_822}


@pytest.fixture(scope="module")
def server() -> Splittable:
    return as_splittable(build_model("stage-resnet", (3, 32, 32), 10))


def small(**parameters: object) -> Splittable:
    return as_splittable(build_model("stage-resnet", (3, 32, 32), 10, {"width": 8, **parameters}))  # type: ignore[dict-item]


def num_parameters(model: nn.Module) -> int:
    return sum(value.numel() for value in model.parameters())


@pytest.mark.parametrize("size", COUNTS)
def test_counts_of_the_five_depths(size: str, server: Splittable) -> None:
    parameters, grey, entries, macs = COUNTS[size]
    model = server.submodel(size)
    assert num_parameters(model) == parameters
    assert parameters - grey == 64 * 2 * 49  # the stem's weights of two colours
    assert len(model.state_dict()) == entries
    assert multiply_accumulates(model) == macs


def multiply_accumulates(model: nn.Module) -> int:
    total = 0

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        total += output[0, 0].numel() * weight.numel() if weight.ndim == 4 else weight.numel()

    hooks = [
        module.register_forward_hook(count)
        for module in model.modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    model.eval()(torch.zeros(1, 3, 32, 32))
    for hook in hooks:
        hook.remove()
    return total


@pytest.mark.parametrize("level", WIDTHS)
def test_counts_of_the_five_widths(level: str, server: Splittable) -> None:
    assert num_parameters(server.submodel(server.size_name(level))) == WIDTHS[level]


def test_mean_counts_are_those_of_the_communication_column() -> None:
    depths = sum(counts[0] for counts in COUNTS.values()) / 5
    assert (round(depths / 1e6, 2), round(sum(WIDTHS.values()) / 5e6, 2)) == (12.29, 4.65)


@pytest.mark.parametrize("size", ["1", "2", "1-2-1-3", "w0.5", "w0.3"])
def test_a_submodel_is_the_selection_of_the_server_model(size: str) -> None:
    model = small()
    name = model.size_name(size)
    state, submodel = model.state_dict(), model.submodel(name)
    part = SubModels(model, [name]).selection(name).take(state)
    assert list(part) == list(submodel.state_dict())
    for key, value in submodel.state_dict().items():
        assert torch.equal(part[key], value), key
        assert value.shape == state[key].shape or name.startswith("w")


def test_the_leading_channels_are_taken_but_all_colours_and_classes() -> None:
    model = small()
    part = model.submodel("w0.5").state_dict()
    state = model.state_dict()
    assert torch.equal(part["conv1.weight"], state["conv1.weight"][:4])
    assert torch.equal(part["layer2.0.conv1.weight"], state["layer2.0.conv1.weight"][:8, :4])
    assert torch.equal(part["layer2.0.downsample.0.weight"], state["layer2.0.downsample.0.weight"][:8, :4])
    assert torch.equal(part["classifier.weight"], state["classifier.weight"][:, :32])
    assert torch.equal(part["classifier.bias"], state["classifier.bias"])


def test_submodels_share_no_memory_and_draw_no_global_numbers() -> None:
    model = small()
    before = torch.get_rng_state()
    for size in ("resnet10", "w0.5", "w1"):
        with torch.no_grad():
            for value in model.submodel(size).parameters():
                value.add_(1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(model.state_dict()["conv1.weight"], small().state_dict()["conv1.weight"])


@pytest.mark.parametrize("size", ["resnet10", "w0.5"])
def test_submodels_predict_and_train(size: str) -> None:
    model = small().submodel(size)
    loss = model(torch.rand(4, 3, 32, 32)).square().sum()
    loss.backward()
    assert all(value.grad is not None for value in model.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_the_scaler_acts_in_training_only_and_batch_norm_undoes_it(training: bool) -> None:
    narrow = small().submodel("w0.25").train(training)
    images = torch.rand(8, 3, 32, 32)
    with_scaler = narrow(images)
    for module in narrow.modules():
        if hasattr(module, "rate"):
            module.rate = 1.0
    torch.testing.assert_close(narrow(images), with_scaler, atol=1e-2 if training else 0, rtol=0)


@pytest.mark.parametrize("training", [True, False])
def test_a_scaler_stands_between_every_convolution_and_its_norm(training: bool) -> None:
    narrow = small().submodel("w0.25").train(training)
    outputs: list[torch.Tensor] = []
    inputs: list[torch.Tensor] = []
    for module in narrow.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, __, output: outputs.append(output))
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    narrow(torch.rand(8, 3, 32, 32))
    assert len(outputs) == len(inputs) == 28
    for output, given in zip(outputs, inputs, strict=True):
        torch.testing.assert_close(given, output * 4 if training else output)


def test_sizes_have_one_name_each() -> None:
    model = small()
    sizes = parse_sizes(model, "1, resnet14,2-2-2-2,1-1-1-2 ,5,b,w.25")
    assert sizes == ("resnet10", "resnet14", "resnet18", "1-1-1-2", "resnet26", "w0.5", "w0.25")


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ("resnet11", "there is no size 'resnet11'; did you mean 'resnet1"),
        ("6", "there is no size '6'"),
        ("1-1-1-4", "'1-1-1-4' is not part of a model with 3-3-3-3 blocks per stage"),
        ("1-1-0-1", "'1-1-0-1' is not part"),
        ("w1.5", "a width is above 0 and at most 1, not 'w1.5'"),
        ("w0", "a width is above 0"),
        (" , ", "has an empty entry: separate the sizes"),
    ],
)
def test_impossible_sizes_are_refused_in_one_line(sizes: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_sizes(small(), sizes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sizes_beyond_a_smaller_server_are_refused() -> None:
    with pytest.raises(UserError, match="'resnet14' is not part of a model with 1-1-1-1 blocks"):
        parse_sizes(small(blocks="resnet10"), "1,2")


def test_a_projection_goes_with_the_depths() -> None:
    model = small(projection=16)
    assert model.submodel("resnet10")(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    with pytest.raises(UserError, match="cannot be made narrower"):
        model.submodel("w0.5")


@pytest.mark.parametrize(
    "head", [{"projection": 4}, {"features": "normalized"}, {"features": "batch-normalized"}]
)
def test_the_last_output_is_that_of_the_forward_pass(head: dict[str, object]) -> None:
    """Statistics are estimated with all outputs, so that those behind the last block are, too."""
    model = small(blocks="1-1-1-1", exits="2", **head).eval()
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.outputs(images)[-1], model(images))  # type: ignore[operator]


def test_other_models_have_no_submodels() -> None:
    with pytest.raises(UserError, match="cannot be cut into sub-models; 'stage-resnet' and"):
        parse_sizes(build_model("mlp", (1, 8, 8), 10), "1")


@pytest.mark.parametrize("blocks", ["resnet11", "1-1-1", "0-1-1-1", "3,3,3,3"])
def test_wrong_blocks_are_refused(blocks: str) -> None:
    with pytest.raises(UserError, match=r"model\.blocks of 'stage-resnet'"):
        small(blocks=blocks)
