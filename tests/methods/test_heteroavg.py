"""HeteroAvg: closed-form numbers, and hand-made replies with buffers, missing layers and InCo."""

import gc
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from torch import nn

from common.records import Tensors, to_record
from models import build_model
from models.classifier import Classifier
from models.sizes.submodels import Splittable, as_splittable
from strategies.heteroavg import HeteroAvg
from tests.methods.sized import Points, SizedFederation, SizedRelations, check_one_size, slopes, three_clients
from tests.methods.sized_server import Server, changed, received
from tests.strategies.messages import NodesOnly


@pytest.mark.parametrize(("weighting", "w", "v"), [("uniform", 7 / 3, 4.5), ("examples", 3.1, 5.0)])
def test_o11_averages_over_holders(weighting: str, w: float, v: float) -> None:
    # One step of lr 1 from zero ends at minus the gradient.
    losses = [slopes(w=-1), slopes(w=-2, v=-3), slopes(w=-4, v=-6)]
    run = SizedFederation(
        "heteroavg",
        {"w": [0.0], "v": [0.0]},
        ["w", "wv", "wv"],
        losses,
        [1, 1, 1],
        counts=[100, 300, 600],
        local={"optimizer.learning-rate": 1.0},
        weighting=weighting,
    )
    model = run.run_round()
    assert model["w"].item() == pytest.approx(w, abs=1e-12)
    assert model["v"].item() == pytest.approx(v, abs=1e-12)


def test_the_delta_divisor_is_a_learning_rate_of_the_server() -> None:
    plain, fifth = (
        three_clients("heteroavg").run_round(),
        three_clients("heteroavg", delta_divisor=5.0).run_round(),
    )
    for name, start in (("w", 1.0), ("v", 4.0)):
        expected = start + (plain[name].item() - start) / 5
        assert fifth[name].item() == pytest.approx(expected, abs=1e-12)


SIZES = ("resnet10", "1-1-1-2", "w0.5")


def resnet(**parameters: Any) -> Any:
    return build_model("stage-resnet", (1, 8, 8), 4, {"width": 4, "blocks": "1-1-1-2", **parameters})


def test_every_client_gets_its_part_and_its_size() -> None:
    server = Server(resnet(), SIZES)
    for message, size in zip(server.send(), SIZES, strict=True):
        submodel = as_splittable(server.model).submodel(size)
        assert message.content.config_records["config"]["size"] == size
        part = received(message)
        assert list(part) == list(submodel.state_dict())
        assert all(torch.equal(part[name], value) for name, value in submodel.state_dict().items())


def test_clients_of_one_size_share_a_message_and_whole_entries_are_not_copied() -> None:
    server = Server(resnet(), ("resnet10", "resnet10", "1-1-1-2"))
    arrays = to_record(server.state)
    messages = list(
        server.strategy.configure_train(1, arrays, ConfigRecord({"server-round": 1}), NodesOnly(server.nodes))
    )
    first, second, third = (message.content.array_records["arrays"] for message in messages)
    assert first is second
    assert first["conv1.weight"].data is third["conv1.weight"].data is arrays["conv1.weight"].data


def test_o12_buffers() -> None:
    class WithBuffers(Points):
        def __init__(self) -> None:
            super().__init__({"w": [0.0]})
            self.register_buffer("num_batches_tracked", torch.tensor(7))
            self.register_buffer("running_var", torch.tensor([0.6, 1.0]))

        def submodel(self, size: str) -> Any:
            return WithBuffers()

    server = Server(WithBuffers(), ["all"] * 3)
    messages = server.send()
    replies = [
        {
            **received(message),
            "num_batches_tracked": torch.tensor(7 + steps),
            "running_var": torch.tensor(var),
        }
        for message, steps, var in zip(
            messages, (35, 40, 41), ([0.1, 1.5], [-0.3, 2.0], [-0.1, 2.5]), strict=True
        )
    ]
    model = server.aggregate(messages, replies)
    assert model["num_batches_tracked"].item() == 45
    assert model["num_batches_tracked"].dtype == torch.int64
    assert model["running_var"].tolist() == [0.0, 2.0]


@pytest.mark.parametrize("inco", [False, True])
def test_o13_a_layer_without_holder_is_bit_identical(inco: bool) -> None:
    server = Server(resnet(), ("resnet10", "resnet10"), inco=inco)
    messages = server.send()
    model = server.aggregate(messages, [changed(received(message)) for message in messages])
    missing = {name for name in server.state if name.startswith("layer4.1.")}
    assert len(missing) == 12
    for name, value in server.state.items():
        assert torch.equal(model[name], value) == (name in missing), name
        assert model[name].dtype == value.dtype


@pytest.mark.parametrize("weighting", ["uniform", "examples"])
@pytest.mark.parametrize("inco", [False, True])
def test_m13_identical_changes_of_all_holders_are_the_change(inco: bool, weighting: str) -> None:
    server = Server(resnet(), SIZES, inco=inco, weighting=weighting)
    messages = server.send()
    after = changed(server.state)
    parts = [
        server.strategy.submodels.selection(size).take(after)  # type: ignore[union-attr]
        for size in SIZES
    ]
    model = server.aggregate(messages, parts)
    targets = {"layer4.1.conv1.weight", "layer4.1.conv2.weight"} if inco else set()
    for name, value in after.items():
        assert torch.allclose(model[name], value, rtol=1e-6, atol=1e-7) == (name not in targets), name


def test_m14_sending_everything_twice_changes_nothing() -> None:
    once = Server(resnet(), SIZES)
    messages = once.send()
    models = [changed(received(message), 0.01 * (i + 1)) for i, message in enumerate(messages)]
    expected = once.aggregate(messages, models)
    twice = Server(resnet(), [size for size in SIZES for _ in range(2)])
    model = twice.aggregate(twice.send(), [model for model in models for _ in range(2)])
    for name, value in expected.items():
        torch.testing.assert_close(model[name], value, rtol=1e-6, atol=1e-7)


def test_m19_untrained_parts_put_together_are_the_model() -> None:
    server = Server(resnet(), SIZES)
    messages = server.send()
    model = server.aggregate(messages, [received(message) for message in messages])
    assert all(torch.equal(model[name], value) for name, value in server.state.items())


def test_m21_a_narrow_client_changes_nothing_outside_its_channels() -> None:
    server = Server(resnet(), ("w0.5",))
    messages = server.send()
    model = server.aggregate(messages, [changed(received(messages[0]))])
    old = server.state["layer2.0.conv1.weight"]
    inside = torch.zeros_like(old, dtype=torch.bool)
    inside[:4, :2] = True
    new = model["layer2.0.conv1.weight"]
    assert torch.equal(new[~inside], old[~inside])
    assert (new[inside] != old[inside]).all()


def test_m6_inco_changes_its_targets_alone_and_within_the_clip() -> None:
    plain, inco = Server(resnet(), SIZES), Server(resnet(), SIZES, inco=True)
    models = [changed(received(message), 0.2 * (i + 1)) for i, message in enumerate(plain.send())]
    expected, model = plain.aggregate(plain.send(), models), inco.aggregate(inco.send(), models)
    targets = {"layer4.1.conv1.weight", "layer4.1.conv2.weight"}
    for name, value in expected.items():
        assert torch.equal(model[name], value) == (name not in targets), name
    for name in targets:
        assert (model[name] - plain.state[name]).abs().max() <= 0.1 + 1e-6
    assert inco.strategy.columns(1)["inco_theta"] > 0
    assert "inco_theta" not in plain.strategy.columns(1)


def test_m2_clients_of_the_largest_size_average_but_inco_still_mixes() -> None:
    plain, inco = (Server(resnet(), ("1-1-1-2",) * 3, inco=flag) for flag in (False, True))
    models = [changed(received(message), 0.01 * (i + 1)) for i, message in enumerate(plain.send())]
    average, model = plain.aggregate(plain.send(), models), inco.aggregate(inco.send(), models)
    for name, value in average.items():
        if value.is_floating_point():
            expected = torch.stack([client[name] for client in models]).double().mean(0).float()
            torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-7)
    mixed = {name for name, value in average.items() if not torch.equal(model[name], value)}
    assert mixed == {"layer4.1.conv1.weight", "layer4.1.conv2.weight"}


@pytest.mark.parametrize("inco", [False, True])
def test_m11_the_order_of_the_clients_changes_rounding_alone(inco: bool) -> None:
    server = Server(resnet(), SIZES, inco=inco)
    messages = server.send()
    models = [changed(received(message), 0.01 * (i + 1)) for i, message in enumerate(messages)]
    expected = server.aggregate(messages, models)
    for order in ([2, 1, 0], [1, 2, 0]):
        messages = server.send()
        model = server.aggregate([messages[i] for i in order], [models[i] for i in order])
        for name, value in expected.items():
            torch.testing.assert_close(model[name], value, rtol=1e-6, atol=1e-7)


class Entries(Splittable):
    """A model of entries with dotted names, all zero; a size names those that it holds by a prefix."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        self.shapes = shapes
        for name, shape in shapes.items():
            module: nn.Module = self
            *path, last = name.split(".")
            for part in path:
                if part not in dict(module.named_children()):
                    module.add_module(part, nn.Module())
                module = module.get_submodule(part)
            module.register_parameter(last, nn.Parameter(torch.zeros(shape, dtype=torch.float64)))

    def features(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def size_name(self, text: str) -> str:
        return text

    def submodel(self, size: str) -> Classifier:
        return Entries({name: shape for name, shape in self.shapes.items() if name.startswith(size)})


def kernel(entries: Mapping[tuple[int, int], float]) -> torch.Tensor:
    values = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    for place, value in entries.items():
        values[(0, 0, *place)] = value
    return values


def test_o14_two_clients_and_inco_in_one_round() -> None:
    first, second = "layer1.0.conv2.weight", "layer1.1.conv1.weight"
    shape = (1, 1, 3, 3)
    server = Server(Entries({first: shape, second: shape}), ("layer1.0", "layer1"), inco=True)
    a = {first: kernel({(0, 0): 0.02})}
    b = {first: kernel({(0, 0): 0.04}), second: kernel({(0, 0): -0.01, (1, 1): 0.02})}
    model = server.aggregate(server.send(), [a, b])
    assert model[first][0, 0, 0, 0].item() == pytest.approx(0.03, abs=1e-12)
    assert model[first].count_nonzero() == 1
    found = model[second][0, 0]
    assert [found[0, 0].item(), found[1, 1].item()] == pytest.approx([-0.00298237, 0.02341630], abs=1e-8)
    assert found.count_nonzero() == 2
    diagnostics = server.strategy.layers(1)[second]
    assert diagnostics["theta"] == pytest.approx(0.33329630, abs=1e-8)
    assert (diagnostics["norm"], diagnostics["layer_beta"]) == pytest.approx((0.02236068, -0.0003), abs=1e-8)


@pytest.mark.parametrize(
    ("divisor", "norm1", "norm2"),
    [
        (5.0, [0.02, -0.04, 0.04, 0.02], [0.05671951, 0.01371557, -0.01371557, 0.03855457]),
        (1.0, [0.1, -0.2, 0.2, 0.1], [0.1, 0.06857739, -0.06857739, 0.1]),
    ],
)
def test_o15_a_transformer_block_and_the_divisor(
    divisor: float, norm1: list[float], norm2: list[float]
) -> None:
    names = [f"blocks.0.{name}.weight" for name in ("norm1", "attention.qkv", "norm2")]
    shapes = {name: (12, 4) if "qkv" in name else (4,) for name in names}
    server = Server(Entries(shapes), ("blocks",), inco=True, delta_divisor=divisor)
    raw = {
        names[0]: torch.tensor([0.1, -0.2, 0.2, 0.1], dtype=torch.float64),
        names[1]: torch.full((12, 4), 0.3, dtype=torch.float64),
        names[2]: torch.tensor([0.3, 0.1, -0.1, 0.2], dtype=torch.float64),
    }
    model = server.aggregate(server.send(), [raw])
    assert model[names[0]].tolist() == pytest.approx(norm1, abs=1e-12)
    assert model[names[2]].tolist() == pytest.approx(norm2, abs=1e-8)
    assert model[names[1]].flatten().tolist() == pytest.approx([0.3 / divisor] * 48, abs=1e-12)


def test_m1_a_server_of_the_smallest_size_has_no_targets() -> None:
    sizes = ("resnet10", "w0.5")
    plain, inco = (Server(resnet(blocks="resnet10"), sizes, inco=flag) for flag in (False, True))
    models = [changed(received(message)) for message in plain.send()]
    expected, model = plain.aggregate(plain.send(), models), inco.aggregate(inco.send(), models)
    assert all(torch.equal(model[name], value) for name, value in expected.items())


@pytest.mark.parametrize("optimise", [True, False])
def test_m24_what_nobody_covers_stays_with_inco_too(optimise: bool) -> None:
    server = Server(resnet(), ("w0.5", "w0.5"), inco=True, inco_optimise=optimise)
    messages = server.send()
    model = server.aggregate(messages, [changed(received(message)) for message in messages])
    for name in ("layer4.1.conv1.weight", "layer4.1.conv2.weight"):
        old, new = server.state[name], model[name]
        assert torch.equal(new[16:], old[16:])
        assert torch.equal(new[:, 16:], old[:, 16:])
        assert (new[:16, :16] != old[:16, :16]).any()


def test_inco_sees_the_mean_change_of_the_holders(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, torch.Tensor] = {}

    def remember(self: HeteroAvg, updates: Tensors, held: Tensors | None = None) -> Tensors:
        seen.update(updates)
        return {name: update * 2 if name == "conv1.weight" else update for name, update in updates.items()}

    monkeypatch.setattr(HeteroAvg, "apply_inco", remember)
    server = Server(resnet(), ("resnet10", "1-1-1-2"), inco=True)
    messages = server.send()
    models = [
        changed(received(message), amount) for message, amount in zip(messages, (0.1, 0.3), strict=True)
    ]
    model = server.aggregate(messages, models)
    assert seen["conv1.weight"].dtype == torch.float64
    torch.testing.assert_close(
        seen["conv1.weight"], torch.full_like(seen["conv1.weight"], 0.2), rtol=0, atol=1e-7
    )
    torch.testing.assert_close(model["conv1.weight"], server.state["conv1.weight"] + 0.4)


@pytest.mark.usefixtures("few_objects")
@pytest.mark.parametrize("num_clients", [3, 12])
def test_one_accumulator_per_entry_whatever_the_cohort(num_clients: int) -> None:
    server = Server(resnet(), [SIZES[i % 3] for i in range(num_clients)], inco=True)
    messages = server.send()
    alive: list[weakref.ref[Message]] = []

    def replies() -> Iterator[Message]:
        for message in messages:
            gc.collect()
            assert sum(reference() is not None for reference in alive) <= 1  # the one that was just averaged
            content = RecordDict(
                {
                    "arrays": to_record(changed(received(message))),
                    "metrics": MetricRecord({"num-examples": 10}),
                }
            )
            reply = Message(content, reply_to=message)
            alive.append(weakref.ref(reply))
            yield reply
            del reply, content

    arrays, _ = server.strategy.aggregate_train(1, replies())
    average = server.strategy._average
    assert arrays is not None
    assert average is not None
    assert {name: value.shape for name, value in average._sums.items()} == {
        name: value.shape for name, value in server.state.items()
    }
    # Weights of entries that are sent in part: one per kernel, channel or row.
    counts = {name: weights.numel() for name, weights in average._parts.items()}
    assert sum(counts.values()) < sum(value.numel() for value in server.state.values()) / 5


class TestRelations(SizedRelations):
    METHOD = "heteroavg"


def test_m2_with_one_size_it_is_uniform_averaging() -> None:
    check_one_size("heteroavg", "fedavg")
