"""The server half that others inherit: parameters, one round, columns, checkpoints."""

import pytest
import torch
from flwr.app import ConfigRecord

from common.errors import UserError
from common.parameters import class_parameters, parse_parameters
from common.records import ARRAYS, Payload, Tensors, to_record, to_tensors
from server.checkpoints.state_codec import capture_attributes, restore_attributes
from strategies._inco import InCoOptions, apply_inco
from strategies._inco_strategy import InCo
from strategies.scaffold import Scaffold
from tests.strategies.messages import NodesOnly, make_reply

MODEL = {
    "stages.0.0.conv1.weight": torch.zeros(2, 2, 3, 3),
    "stages.0.0.conv2.weight": torch.zeros(2, 2, 3, 3),
    "stages.0.1.conv1.weight": torch.zeros(2, 2, 3, 3),
    "classifier.weight": torch.zeros(3, 2),
}
TARGET, REFERENCE = "stages.0.1.conv1.weight", "stages.0.0.conv2.weight"


class InCoAvg(InCo):
    """HeteroAvg's rule and InCo."""

    def update(self, averages: Payload, server_round: int) -> Tensors:
        changes = self.apply_inco(
            {name: value - self.global_model[name] for name, value in averages[ARRAYS].items()}
        )
        return {name: self.global_model[name] + change for name, change in changes.items()}


class InCoScaffold(InCo, Scaffold):
    """Only to see that it can be inherited beside another half."""


def values(seed):
    generator = torch.Generator().manual_seed(seed)
    return {name: 0.02 * torch.randn(value.shape, generator=generator) for name, value in MODEL.items()}


def round_of(strategy, *models, model=MODEL, server_round=1):
    list(strategy.configure_train(server_round, to_record(model), ConfigRecord(), NodesOnly([1])))
    arrays, _ = strategy.aggregate_train(server_round, [make_reply(values, 10) for values in models])
    return to_tensors(arrays)


def test_parameters_are_those_of_the_options():
    declared = class_parameters(InCoScaffold)
    given = {
        "inco": True, "inco-sign-rule": "paper-signed", "inco-granularity": "layer", "inco-normalise": False,
        "inco-optimise": False, "inco-theta-max": 0.0, "inco-clip": 0.5, "inco-epsilon": 1e-9,
    }  # fmt: skip
    parsed = parse_parameters("method", "x", declared, given)
    expected = InCoOptions("paper-signed", "layer", False, False, 0.0, 0.5, 1e-9)
    assert InCoScaffold(**parsed).inco_options == expected
    defaults = InCoScaffold(**parse_parameters("method", "x", declared, {}))
    assert defaults.inco_options == InCoOptions()
    assert not defaults.inco
    assert "server_learning_rate" in declared
    for key, value in {"inco-epsilon": 0.0, "inco-clip": -1.0, "inco-sign-rule": "signed"}.items():
        with pytest.raises(UserError, match=f"method.{key} must be"):
            parse_parameters("method", "x", declared, {key: value})


def test_without_the_switch_it_is_the_plain_mean():
    strategy = InCoAvg()
    found = round_of(strategy, values(0), values(1))
    for name, value in found.items():
        torch.testing.assert_close(value, (values(0)[name] + values(1)[name]) / 2)
    assert strategy.columns(1) == {}
    assert strategy.layers(1) == {}


def test_with_it_the_targets_alone_differ():
    plain, strategy = round_of(InCoAvg(), values(0), values(1)), InCoAvg(inco=True)
    found = round_of(strategy, values(0), values(1))
    means = {name: (values(0)[name].double() + values(1)[name].double()) / 2 for name in MODEL}
    expected, diagnostics = apply_inco(means, {TARGET: REFERENCE})
    assert all(torch.equal(found[name], plain[name]) for name in MODEL if name != TARGET)
    torch.testing.assert_close(found[TARGET], expected[TARGET].float(), rtol=0, atol=1e-9)
    assert not torch.equal(found[TARGET], plain[TARGET])
    assert strategy.layers(1)[TARGET] == pytest.approx(diagnostics[TARGET])
    columns = strategy.columns(1)
    assert set(columns) == {"inco_theta", "inco_beta_positive", "inco_capped", "inco_clipped"}
    assert columns["inco_theta"] == strategy.layers(1)[TARGET]["theta"]


def test_diagnostics_are_those_of_the_round_and_can_be_checkpointed():
    strategy = InCoAvg(inco=True)
    round_of(strategy, values(0))
    restored = InCoAvg(inco=True)
    restore_attributes(restored, *capture_attributes(strategy))
    assert restored.inco_diagnostics == strategy.inco_diagnostics != {}
    list(strategy.configure_train(2, to_record(MODEL), ConfigRecord(), NodesOnly([1])))
    assert strategy.columns(2) == {}


def test_a_smallest_model_is_averaged_bit_for_bit():
    small = {name: value for name, value in MODEL.items() if name != TARGET}
    models = [{name: values(seed)[name] for name in small} for seed in (0, 1)]
    plain = round_of(InCoAvg(), *models, model=small)
    found = round_of(InCoAvg(inco=True), *models, model=small)
    assert all(torch.equal(found[name], plain[name]) for name in small)


def test_a_model_without_stages_is_refused_before_training():
    strategy = InCoAvg(inco=True)
    model = {"fc1.weight": torch.zeros(2, 2), "classifier.weight": torch.zeros(2, 2)}
    with pytest.raises(UserError, match="InCo needs a model with stages"):
        strategy.configure_train(1, to_record(model), ConfigRecord(), NodesOnly([1]))
    InCoAvg().configure_train(1, to_record(model), ConfigRecord(), NodesOnly([1]))
