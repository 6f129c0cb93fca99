from typing import Any

import pytest
import torch

from clients.local.worker import Worker
from clients.scalefl import ScaleFL as ScaleFLClient
from clients.scalefl import multi_exit_loss
from common.errors import UserError
from models import build_model
from models.sizes.submodels import SubModels
from strategies.scalefl import ScaleFL
from tests.conftest import Runner, model_for, small_config
from tests.methods.sized_server import Server, changed, received
from tests.server.test_sizes import prepare_run, summary

LEVELS = ("d1w0.7", "d2w0.7", "d3w0.75", "d4")
LOGITS = [[[1.0, 0, -1], [0, 2, 0]], [[2.0, 0, -2], [0, 3, 1]]]


def server(sizes: tuple[str, ...] = LEVELS, **parameters: Any) -> Server:
    model = build_model("stage-resnet", (1, 8, 8), 4, {"width": 4, "exits": "6,8,10"})
    made = Server(model, sizes)
    strategy = ScaleFL(**parameters)
    strategy.setup(made.facts)
    made.strategy = strategy
    return made


def loss(gamma: float, *, temperature: float = 3.0, logits: Any = LOGITS) -> float:
    outputs = [torch.tensor(y, dtype=torch.float64) for y in logits]
    return multi_exit_loss(outputs, torch.tensor([0, 1]), gamma, temperature).item()


def test_o24_loss() -> None:
    assert loss(0.1) == pytest.approx(0.21417660, abs=1e-6)
    assert loss(0.0) == pytest.approx(0.21211770, abs=1e-6)
    assert loss(0.0, logits=LOGITS[:1]) == pytest.approx(0.32357538, abs=1e-6)
    # KL over samples and classes, not over samples: (1 x .1 x 9 x .00686293) / 3.
    assert loss(0.1) - loss(0.0) == pytest.approx(0.3 * 0.00686293, abs=1e-8)


def test_the_teacher_is_not_detached() -> None:
    outputs = [torch.tensor(y, dtype=torch.float64, requires_grad=True) for y in LOGITS]
    grads = [
        torch.autograd.grad(multi_exit_loss(outputs, torch.tensor([0, 1]), gamma, 3.0), outputs)
        for gamma in (0.0, 1.0)
    ]
    assert all(not torch.allclose(plain, taught) for plain, taught in zip(*grads, strict=True))


def test_distillation_begins_after_a_quarter_of_the_rounds() -> None:
    client = ScaleFLClient(Worker(small_config(rounds=8, method__name="scalefl", **model_for("scalefl"))), 0)
    active = []
    for server_round in range(1, 9):
        client.server_round = server_round
        active.append(client._distils())
    assert active == [False] * 3 + [True] * 5  # rounds 3, 4, ... counted from 0 are beyond 0.25 x 8


def test_m22_the_whole_model_without_exits_is_uniform_fedavg(run_small: Runner) -> None:
    keys = {**model_for("scalefl"), "model__exits": "", "local__steps": 3, "rounds": 2}
    sized = {**keys, "model__sizes": "d1", "method__gamma": 0.0}
    del keys["model__sizes"]
    plain = run_small("plain", method__name="fedavg", method__weighting="uniform", **keys)
    scaled = run_small("scaled", method__name="scalefl", **sized)
    assert summary(scaled)["model_sha256"] == summary(plain)["model_sha256"]


@pytest.mark.parametrize("inco", [False, True])
def test_m22_a_client_of_level_1_changes_nothing_behind_exit_1(inco: bool) -> None:
    run = server(("d1w0.7", "d1w0.7"), inco=inco, inco_optimise=False)
    messages = run.send()
    model = run.aggregate(messages, [changed(received(message)) for message in messages])
    for name, old in run.state.items():
        behind = name.startswith(("layer3", "layer4", "exits.1", "exits.2", "classifier"))
        assert torch.equal(model[name], old) == behind, name
    old, new = run.state["layer2.1.conv1.weight"], model["layer2.1.conv1.weight"]
    assert (new[:5, :5] != old[:5, :5]).any()  # int(0.7 x 8) channels
    assert torch.equal(new[5:], old[5:])
    assert torch.equal(new[:, 5:], old[:, 5:])


def test_m19_untrained_levels_put_together_are_the_model() -> None:
    run = server()
    messages = run.send()
    model = run.aggregate(messages, [received(message) for message in messages])
    assert all(torch.equal(model[name], value) for name, value in run.state.items())


def test_elements_are_averaged_over_the_levels_that_hold_them() -> None:
    run = server()
    messages = run.send()
    models = [
        {name: value + (level + 1 if value.is_floating_point() else 0) for name, value in received(m).items()}
        for level, m in enumerate(messages)
    ]
    model = run.aggregate(messages, models)

    def moved(name: str) -> torch.Tensor:
        return model[name] - run.state[name]

    stem = moved("conv1.weight")  # 2 channels of all four, the third of levels 3 and 4, the fourth of level 4
    for channel, mean in enumerate((2.5, 2.5, 3.5, 4.0)):
        torch.testing.assert_close(stem[channel], torch.full_like(stem[channel], mean))
    for exit_, mean in enumerate((2.5, 3.0, 3.5)):
        torch.testing.assert_close(moved(f"exits.{exit_}.classifier.bias"), torch.full((4,), mean))
    torch.testing.assert_close(moved("classifier.bias"), torch.full((4,), 4.0))


def test_inco_changes_its_targets_alone() -> None:
    plain, inco = server(), server(inco=True)
    models = [changed(received(message)) for message in plain.send()]
    expected, model = plain.aggregate(plain.send(), models), inco.aggregate(inco.send(), models)
    differing = {name for name in expected if not torch.equal(model[name], expected[name])}
    assert differing == {
        f"layer{stage}.{block}.conv{conv}.weight"
        for stage in (1, 2, 3, 4)
        for block in (1, 2)
        for conv in (1, 2)
    }


def test_a_deeper_block_is_covered_where_its_stages_first_one_is() -> None:
    submodels = SubModels(server().model, LEVELS)
    for size in LEVELS:
        indices = submodels.selection(size).indices
        for stage in (1, 2, 3, 4):
            first = indices.get(f"layer{stage}.0.conv2.weight")
            for name in (f"layer{stage}.{block}.conv2.weight" for block in (1, 2)):
                deeper = indices.get(name)
                assert deeper is None or str(deeper) == str(first)


@pytest.mark.parametrize("inco", [False, True])
def test_a_run_of_four_levels(inco: bool, run_small: Runner) -> None:
    keys = {**model_for("scalefl"), "model__blocks": "1-1-1-2", "model__exits": "2,3,4", "rounds": 2}
    keys["model__sizes"] = ",".join(LEVELS)
    run_directory = run_small("run", method__name="scalefl", method__inco=inco, clients__fraction=1.0, **keys)
    final = summary(run_directory)
    assert {f"final.test_accuracy_{size}" for size in LEVELS} <= set(final)
    assert final["final.test_loss_d4"] == final["final.test_loss"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method__name": "fedavg", "model__sizes": ""}, "'fedavg' does not train early exits: leave"),
        ({"method__name": "heteroavg"}, "'heteroavg' does not train early exits"),
        ({"model__sizes": ""}, "'scalefl' is for clients with models of several sizes"),
        ({"model__sizes": "d3"}, "'d3' ends at head 3, but the model has 2"),
        ({"model__projection": 8}, "a model with model.projection cannot be made narrower"),
        ({"method__gamma": -1.0}, "method.gamma must be"),
    ],
)
def test_impossible_runs_are_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        prepare_run({"method__name": "scalefl", **model_for("scalefl"), **options})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_transformers_have_no_exits() -> None:
    keys = {"model__name": "vit-small", "model__patch_size": 4, "model__depth": 2, "model__sizes": "1,2"}
    with pytest.raises(
        UserError, match=r"'scalefl' needs a model with early exits, which 'vit-small' cannot"
    ):
        prepare_run({"method__name": "scalefl", "model__width": 12, "model__heads": 2, **keys})
