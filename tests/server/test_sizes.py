"""Runs whose clients have models of several sizes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from flwr.app import Message

from clients.app import app
from common.errors import UserError
from common.records import to_payload, to_record, to_tensors
from datasets.configured import open_dataset
from models.sizes.submodels import as_splittable
from runtimes.sequential import SequentialGrid
from server.evaluation import CentralEvaluation
from server.preparation import make_parts
from tests.conftest import SIZES, Runner, small_config

HETERO = {**SIZES, "method__name": "heteroavg"}
NUM_VALUES = {"resnet10": 5416, "1-1-1-2": 10154}


class Watching(SequentialGrid):
    """Remembers what was sent and replied."""

    exchanged: list[tuple[Message, Message]]

    def exchange(self, messages: list[Message]) -> Iterator[Message]:
        self.exchanged = getattr(self, "exchanged", [])
        type(self).last = self  # type: ignore[attr-defined]
        for message, reply in zip(messages, super().exchange(messages), strict=True):
            self.exchanged.append((message, reply))
            yield reply


def prepare_run(keys: dict[str, Any]) -> None:
    config = small_config(**keys)
    make_parts(config, SequentialGrid(app, config.clients.count, config.flat()))


def summary(run_directory: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run_directory / "summary.json").read_text())
    return content


def test_what_a_client_is_sent_and_replies_is_its_sub_model(run_small: Runner) -> None:
    run_directory = run_small("run", Watching, clients__evaluate_fraction=1.0, **HETERO)
    sizes = pd.read_csv(run_directory / "sizes.csv")["size"].tolist()
    assert sizes == ["resnet10"] * 3 + ["1-1-1-2"] * 3
    exchanged = Watching.last.exchanged  # type: ignore[attr-defined]
    with_model = [pair for pair in exchanged if "arrays" in pair[0].content.array_records]
    assert len(with_model) == 3 * (3 + 6)
    seen = set()
    for message, reply in with_model:
        size = sizes[message.metadata.dst_node_id - 2]
        sent = to_payload(message.content)["arrays"]
        assert sum(value.numel() for value in sent.values()) == NUM_VALUES[size]
        assert message.content.config_records["config"]["size"] == size
        if "arrays" in reply.content.array_records:
            assert set(to_payload(reply.content)["arrays"]) == set(sent)
        seen.add(size)
    assert seen == set(NUM_VALUES)


def test_bytes_are_those_of_the_sub_models(run_small: Runner) -> None:
    run_directory = run_small(**HETERO)
    rows = pd.read_csv(run_directory / "metrics.csv").set_index("round")
    clients = pd.read_csv(run_directory / "clients.csv")
    sizes = pd.read_csv(run_directory / "sizes.csv").set_index("client_id")["size"]
    counters = {"resnet10": 12, "1-1-1-2": 14}  # int64 instead of float32
    for server_round, cohort in clients.groupby("round"):
        held = [sizes[client] for client in cohort["client_id"]]
        expected = sum(4 * (NUM_VALUES[size] + counters[size]) for size in held)
        assert rows.loc[server_round, ["bytes_down", "bytes_up"]].tolist() == [expected, expected]


def test_rows_have_every_size_and_their_mean(run_small: Runner) -> None:
    run_directory = run_small(**HETERO)
    rows = pd.read_csv(run_directory / "metrics.csv")
    for metric in ("test_accuracy", "test_loss"):
        of_sizes = rows[[f"{metric}_resnet10", f"{metric}_1-1-1-2"]]
        assert rows[f"{metric}_mean"].tolist() == pytest.approx(of_sizes.mean(axis=1).tolist(), rel=1e-5)
        assert rows[f"{metric}_1-1-1-2"].tolist() == rows[metric].tolist()  # the whole model
    assert "final.test_accuracy_resnet10" in summary(run_directory)


@pytest.mark.parametrize("policy", ["average", "recalibrate"])
def test_m15_a_size_is_evaluated_as_the_part_of_the_server_model(policy: str) -> None:
    config = small_config(
        **{**HETERO, "model__sizes": "1,5", "model__blocks": "resnet26"}, batch_norm__policy=policy
    )
    evaluation = CentralEvaluation(config, open_dataset(config))
    model = as_splittable(evaluation.model)
    generator = torch.Generator().manual_seed(1)
    state = {
        name: value + 0.3 * torch.rand(value.shape, generator=generator)
        if value.is_floating_point()
        else value
        for name, value in model.state_dict().items()
    }
    results = evaluation(to_record(state))
    alone = small_config(
        **{**HETERO, "model__sizes": "1", "model__blocks": "resnet10"}, batch_norm__policy=policy
    )
    small = CentralEvaluation(alone, open_dataset(alone))
    part = {name: state[name] for name in small.model.state_dict()}
    assert small(to_record(part))["test_loss"] == results["test_loss_resnet10"] != results["test_loss"]
    assert results["test_loss_resnet26"] == results["test_loss"]


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_with_one_size_the_bits_are_those_of_fedavg(norm: str, run_small: Runner) -> None:
    keys = {"model__name": "stage-resnet", "model__blocks": "1-1-1-2", "model__width": 2, "model__norm": norm}
    plain = run_small("plain", method__name="fedavg", method__weighting="uniform", local__steps=3, **keys)
    sized = run_small("sized", method__name="heteroavg", model__sizes="1-1-1-2", local__steps=3, **keys)
    assert summary(sized)["model_sha256"] == summary(plain)["model_sha256"]
    for metric in ("train_loss", "test_loss", "bytes_down", "bytes_up"):
        columns = [pd.read_csv(run / "metrics.csv")[metric].dropna().tolist() for run in (plain, sized)]
        assert columns[0] == columns[1]


def test_m16_training_on_a_cpu_moves_every_parameter(run_small: Runner) -> None:
    run_small("run", Watching, rounds=1, clients__fraction=1.0, **HETERO)
    for message, reply in Watching.last.exchanged:  # type: ignore[attr-defined]
        if "arrays" in message.content.array_records:
            sent, back = (to_payload(content)["arrays"] for content in (message.content, reply.content))
            assert not torch.equal(sent["conv1.weight"], back["conv1.weight"])
            assert not torch.equal(sent["classifier.weight"], back["classifier.weight"])


def test_m16_steps_of_no_length_move_no_parameter(run_small: Runner) -> None:
    run_small("run", Watching, rounds=1, clients__fraction=1.0, optimizer__learning_rate=1e-38, **HETERO)
    for message, reply in Watching.last.exchanged:  # type: ignore[attr-defined]
        if "arrays" in message.content.array_records:
            sent, back = (to_payload(content)["arrays"] for content in (message.content, reply.content))
            moved = {name for name in sent if not torch.allclose(sent[name], back[name], rtol=0, atol=1e-30)}
            assert moved == {name for name in sent if name.endswith(("_mean", "_var", "_tracked"))}


def test_losses_are_asked_of_sub_models(run_small: Runner) -> None:
    run_directory = run_small(participation__name="power-of-choice", **HETERO)
    rows = pd.read_csv(run_directory / "metrics.csv")
    assert rows["loss_queries"].dropna().tolist() == [6, 6, 6]


def test_transformers_split_by_layers_go_through_inco(run_small: Runner) -> None:
    keys: dict[str, Any] = {
        "method__name": "heteroavg", "method__inco": True, "method__delta_divisor": 2.0, "rounds": 1,
        "model__name": "vit-small", "model__depth": 3, "model__width": 8, "model__heads": 2,
        "model__patch_size": 4, "model__sizes": "1,2,depth3",
    }  # fmt: skip
    rows = pd.read_csv(run_small(**keys) / "metrics.csv")
    assert {"test_accuracy_depth1", "test_accuracy_depth2", "test_accuracy_depth3"} <= set(rows)
    assert rows["inco_theta"].iloc[1] > 0


def test_sizes_of_a_file_are_those_of_another_run(run_small: Runner, tmp_path: Path) -> None:
    shuffled = run_small("shuffled", model__size_assignment="shuffled", rounds=1, **HETERO)
    again = run_small("again", model__size_file=str(shuffled / "sizes.csv"), rounds=1, **HETERO)
    assert (again / "sizes.csv").read_text() == (shuffled / "sizes.csv").read_text()
    assert summary(again)["model_sha256"] == summary(shuffled)["model_sha256"]
    other = tmp_path / "list.json"
    other.write_text(json.dumps(["1-1-1-2"] * 5 + ["1"]))
    assert (
        "5,resnet10"
        in (run_small("list", model__size_file=str(other), rounds=1, **HETERO) / "sizes.csv").read_text()
    )


def test_two_systems_given_the_same_files_have_the_same_clients(run_small: Runner) -> None:
    first = run_small("first", model__size_assignment="shuffled", rounds=1, **HETERO)
    files = {
        "model__size_file": str(first / "sizes.csv"),
        "partition__name": "hetero-fixed",
        "partition__file": str(first / "partition.npz"),
    }
    same = run_small("same", rounds=1, **files, **HETERO)
    for key in ("partition_sha256", "model_sha256"):
        assert summary(same)[key] == summary(first)[key]
    # Another seed and another method leave both files' content as it is.
    other = run_small("other", rounds=1, seed=7, **files, **{**HETERO, "method__name": "heteroprox"})
    assert (other / "sizes.csv").read_text() == (first / "sizes.csv").read_text()
    assert summary(other)["partition_sha256"] == summary(first)["partition_sha256"]
    assert summary(other)["model_sha256"] != summary(first)["model_sha256"]


WIDTHS: dict[str, Any] = {
    "model__name": "stage-resnet", "model__blocks": "1-1-1-1", "model__width": 4, "model__sizes": "a,b",
    "batch_norm__policy": "recalibrate", "batch_norm__batches": 2, "local__batch_size": 128,
    "clients__evaluate_fraction": 0.5,
}  # fmt: skip


@pytest.mark.parametrize("method", ["heteroavg", "heteroprox", "heteronova", "heterofl", "fedrolex"])
def test_dynamic_sizes_change_and_resume(method: str, run_small: Runner) -> None:
    """The main setting of HeteroFL and FedRolex: every client's size is drawn in every round."""
    keys = {
        **(WIDTHS if method in ("heterofl", "fedrolex") else HETERO),
        "method__name": method,
        "model__size_assignment": "dynamic",
        "evaluate__every": 3,
    }
    whole = run_small("whole", rounds=3, **keys)
    parts = run_small("parts", rounds=1, **keys)
    after_one_round = summary(parts)["model_sha256"]
    run_small("parts", rounds=3, run__resume=True, **keys)
    assert summary(parts)["model_sha256"] == summary(whole)["model_sha256"]
    assert not (whole / "sizes.csv").exists()
    fixed = run_small("fixed", rounds=1, **{**keys, "model__size_assignment": "contiguous"})
    assert summary(fixed)["model_sha256"] != after_one_round


def test_five_sizes_resume_exactly(run_small: Runner) -> None:
    keys: dict[str, Any] = {
        "method__name": "heteroscaffold", "method__inco": True, "model__name": "stage-resnet",
        "model__width": 2, "model__sizes": "1,2,3,4,5", "clients__count": 5, "clients__fraction": 0.6,
        "local__steps": 1, "evaluate__every": 3,
    }  # fmt: skip
    whole = run_small("whole", rounds=3, **keys)
    run_small("parts", rounds=1, **keys)
    parts = run_small("parts", rounds=3, run__resume=True, **keys)
    assert summary(parts)["model_sha256"] == summary(whole)["model_sha256"]
    assert summary(parts)["final.test_loss_resnet22"] == summary(whole)["final.test_loss_resnet22"]


def test_what_nobody_trains_is_said(run_small: Runner, capsys: pytest.CaptureFixture[str]) -> None:
    run_directory = run_small(rounds=1, **{**HETERO, "model__sizes": "1"})
    output = capsys.readouterr().out
    assert "size 'resnet10': 6 clients, 5416 values" in output
    assert "no size holds 'layer4.1.conv1.weight' (12 entries of the server model stay as they are)" in output
    rows = pd.read_csv(run_directory / "metrics.csv")
    assert "test_accuracy_resnet10" in rows


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model__sizes": ""}, "'heteroavg' is for clients with models of several sizes: set model.sizes"),
        ({"method__name": "fedavg"}, "'fedavg' is for clients that all train the whole model"),
        ({"method__name": "flwr:FedAdam"}, "'flwr:FedAdam' is for clients that all train the whole model"),
        ({"model__sizes": "1,resnet99"}, "there is no size 'resnet99'; did you mean"),
        ({"model__sizes": "1,1,1,1,1,1,1"}, "model.sizes has 7 entries for clients.count = 6"),
        (
            {"model__name": "mlp", "model__blocks": None, "model__width": None},
            "cannot be cut into sub-models",
        ),
        (
            {"model__size_assignment": "random"},
            "model.size-assignment must be 'contiguous', 'shuffled' or 'dyn",
        ),
        ({"model__size_file": "no-such-file"}, "model.size-file: cannot read no-such-file"),
        (
            {"model__sizes": "", "method__name": "fedavg", "model__size_file": "x"},
            "model.size-file needs model",
        ),
        (
            {"method__name": "heteroscaffold", "model__size_assignment": "dynamic"},
            "clients of 'heteroscaffold' keep tensors of their size between rounds",
        ),
        (
            {"method__name": "heteromoon", "model__size_assignment": "dynamic"},
            "clients of 'heteromoon' keep tensors of their size between rounds",
        ),
        (
            {"batch_norm__policy": "local", "model__size_assignment": "dynamic"},
            "clients of 'heteroavg' keep tensors of their size between rounds",
        ),
    ],
)
def test_impossible_runs_are_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    keys = {key: value for key, value in {**HETERO, **options}.items() if value is not None}
    with pytest.raises(UserError) as caught:
        prepare_run(keys)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", ["heteroavg", "heterofl", "fedrolex", "scalefl"])
@pytest.mark.parametrize("sizes", ["w0.5,1", "a,b", "resnet10", "d1w0.5"])
def test_transformers_are_not_made_narrower(method: str, sizes: str) -> None:
    vit = {"model__name": "vit-small", "model__depth": 2, "model__width": 8, "model__heads": 2}
    with pytest.raises(UserError) as caught:
        prepare_run({"method__name": method, "model__patch_size": 4, "model__sizes": sizes, **vit})
    assert "model.sizes: there is no size '" in str(caught.value)
    assert "numbers of blocks from 1 to 2; a transformer cannot be made narrower" in str(caught.value)


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "sizes.json"
    for sizes, message in (
        (["1"] * 5, "names 5 clients, but clients.count is 6"),
        (["5"] * 6, "not part of a model"),
    ):
        file.write_text(json.dumps(sizes))
        with pytest.raises(UserError, match=message):
            prepare_run({**HETERO, "model__size_file": str(file)})


def test_a_worker_keeps_one_model_per_size() -> None:
    from clients.local.worker import Worker

    worker = Worker(small_config(**HETERO))
    small = worker.sized("resnet10")
    assert worker.sized("resnet10") is small
    assert worker.sized("") is worker
    assert small.train.inputs is worker.train.inputs
    assert small.model is not worker.model
    assert all(torch.equal(v, worker.initial_model[n]) for n, v in small.initial_model.items())
    section = to_tensors(to_record(small.model_state))
    with torch.no_grad():
        small.parameters["conv1.weight"].add_(1)
    assert torch.equal(worker.model_state["conv1.weight"], section["conv1.weight"])


@pytest.mark.parametrize("split", ["blocks", "widths", "windows"])
def test_clients_measure_their_own_sub_model(split: str, run_small: Runner) -> None:
    keys = {**HETERO, "clients__evaluate_fraction": 1.0, "rounds": 1, "local__steps": 2}
    if split == "widths":
        keys |= {"model__sizes": "w0.5,w1", "model__norm": "group", "model__width": 4}
    elif split == "windows":
        keys |= {"model__sizes": "w0.5,w1", "model__width": 4, "method__name": "fedrolex"}
        keys |= {"batch_norm__policy": "recalibrate", "rounds": 2, "local__steps": 3, "evaluate__every": 2}
    # One client per size, with all classes: its test data are the test set.
    keys |= {"clients__count": 2, "clients__fraction": 1.0, "partition__name": "iid"}
    run_directory = run_small("run", **keys)
    row = pd.read_csv(run_directory / "metrics.csv").iloc[-1]
    evaluations = pd.read_csv(run_directory / "evaluations.csv").set_index("client_id")
    sizes = pd.read_csv(run_directory / "sizes.csv").set_index("client_id")["size"]
    assert sizes.nunique() == 2
    for client, size in sizes.items():
        assert row[f"federated_accuracy_{size}"] == pytest.approx(
            evaluations.loc[client, "accuracy"], rel=1e-5
        )
        # Classes are weighted by the client's labels, which iid data have in the test set's proportions.
        assert row[f"federated_loss_{size}"] == pytest.approx(row[f"test_loss_{size}"], rel=0.05)
    assert abs(evaluations["loss"].diff().iloc[-1]) > 1e-4
    if (
        split == "windows"
    ):  # the whole model, its channels shifted: with the averaged statistics it is 2 % off
        assert row["federated_loss_w1"] == pytest.approx(row["test_loss_w1"], rel=2e-3)
