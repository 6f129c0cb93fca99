"""Local SGD through the whole engine: streams of batches, phases, resume."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from clients.base import Client
from clients.local.sampling import iterate_stream
from clients.local.worker import Worker
from common.errors import UserError
from tests.conftest import Runner, small_config

WORKERS = {
    "method__name": "localsgd",
    "model__name": "mlp",
    "clients__count": 4,
    "clients__fraction": 1.0,
    "partition__name": "iid",
    "local__epochs": 0,
    "local__steps": 1,
    "local__batch_size": 8,
    "local__sampling": "shuffle",
    "schedule__name": "constant",
    "checkpoint__every": 100,
    "evaluate__every": 100,
}
MOMENTUM = {"optimizer__momentum": 0.9, "method__momentum": "keep"}


def model(run_directory: Path) -> dict[str, torch.Tensor]:
    return load_file(run_directory / "model.safetensors")


def model_hash(run_directory: Path) -> str:
    return str(json.loads((run_directory / "summary.json").read_text())["model_sha256"])


def test_one_step_a_round_is_sgd_on_the_union_of_the_batches(run_small: Runner) -> None:
    options = {
        **WORKERS,
        "augmentation__name": "none",
        "optimizer__learning_rate": 0.5,
        "optimizer__weight_decay": 0.01,
    }
    ours = model(run_small(rounds=5, **options))
    worker = Worker(small_config(rounds=5, **options))
    optimizer = torch.optim.SGD(worker.parameters.values(), lr=0.5, weight_decay=0.01)
    for server_round in range(1, 6):
        batches = []
        for client_id in range(4):
            client = Client(worker, client_id)
            client.server_round = server_round
            batches += list(iterate_stream(client, client.budget))
        union = torch.cat(batches)
        assert len(union.unique()) == 32
        optimizer.zero_grad()
        logits = worker.model(worker.normalizer(worker.train.inputs[union]))
        torch.nn.functional.cross_entropy(logits, worker.train.targets[union]).backward()
        optimizer.step()
    for name, value in worker.state.items():
        torch.testing.assert_close(ours[name], value.detach(), rtol=1e-6, atol=1e-7)


def test_one_worker_is_the_same_for_any_number_of_local_steps(run_small: Runner) -> None:
    """With augmentation and dropout, whose draws belong to steps as well."""
    options = {
        **WORKERS, **MOMENTUM, "clients__count": 1,
        "model__name": "small-cnn", "schedule__warmup_steps": 9, "schedule__name": "cosine-steps",
    }  # fmt: skip
    hashes = {
        model_hash(run_small(f"h{steps}", rounds=12 // steps, **{**options, "local__steps": steps}))
        for steps in (1, 4, 12)
    }
    assert len(hashes) == 1
    phased = run_small(
        "phases", rounds=7, **{**options, "local__phases": "4:2,8:4", "local__total_steps": 12}
    )
    assert model_hash(phased) in hashes


def test_resume_within_a_phase_and_across_borders(run_small: Runner) -> None:
    options = {
        **WORKERS, **MOMENTUM, "local__phases": "4:3,10:2",
        "schedule__phase_gamma": 0.5, "evaluate__every": 1, "schedule__warmup_steps": 6,
        "local__total_steps": 15,
    }  # fmt: skip
    whole = run_small("whole", rounds=9, **options)
    for rounds in (2, 4, 5, 9):  # borders lie after rounds 4 and 6
        parts = run_small("parts", rounds=rounds, run__resume=rounds > 2, **options)
    assert model_hash(parts) == model_hash(whole)
    rows = pd.read_csv(whole / "metrics.csv").drop(columns="seconds")
    pd.testing.assert_frame_equal(rows[rows.columns], pd.read_csv(parts / "metrics.csv")[rows.columns])
    assert rows["local_steps"].tolist()[1:] == [4 * steps for steps in (1, 1, 1, 1, 3, 3, 2, 2, 1)]
    assert rows["samples"].tolist()[1:] == [8 * 4 * steps for steps in (1, 1, 1, 1, 3, 3, 2, 2, 1)]
    rates = [0.05 * min(t, 6) / 6 for t in range(15)]
    means = [rates[0], rates[1], rates[2], rates[3], sum(rates[4:7]) / 6, sum(rates[7:10]) / 6]
    assert rows["learning_rate"].tolist()[1:7] == pytest.approx(means, rel=1e-5)


def test_streams_go_on_where_the_server_decides_the_steps(run_small: Runner) -> None:
    """One worker is its optimiser whatever the rule makes of the rounds."""
    options = {**WORKERS, **MOMENTUM, "clients__count": 1, "schedule__name": "cosine-steps"}
    fixed = run_small("fixed", rounds=12, **options, local__total_steps=12)
    ruled = {**options, "steps__rule": "doubling", "steps__min": 1, "steps__max": 4, "local__total_steps": 12}
    assert model_hash(run_small("ruled", rounds=20, **ruled)) == model_hash(fixed)


def test_a_last_round_that_is_left_out_is_told(run_small: Runner) -> None:
    log = run_small(rounds=2, **WORKERS, local__total_steps=3) / "log.txt"
    assert "2 rounds make 2 of local.total-steps = 3: rounds = 3 would make all" in log.read_text()


def test_a_method_that_needs_one_rate_per_round_is_refused(run_small: Runner) -> None:
    options = {**WORKERS, "method__name": "scaffold", "schedule__warmup_steps": 3}
    with pytest.raises(UserError, match="computes with one learning rate per round"):
        run_small(**options)


def test_only_averaged_buffers_travel(run_small: Runner) -> None:
    sent = {
        kind: pd.read_csv(
            run_small(kind, rounds=2, **{**WORKERS, **MOMENTUM, "method__momentum": kind}) / "metrics.csv"
        )
        for kind in ("keep", "average")
    }
    keep, average = (sent[kind][["bytes_down", "bytes_up"]].iloc[1:].to_numpy().tolist() for kind in sent)
    assert average == [[keep[0][0], 2 * keep[0][1]], [2 * keep[1][0], 2 * keep[1][1]]]


@pytest.mark.parametrize(
    ("keys", "first", "later", "up"),
    [
        ({"method__name": "localsgd", "method__momentum": "keep"}, 1, 1, 1),
        ({"method__name": "localsgd", "method__momentum": "average"}, 1, 2, 2),
        (
            {"method__name": "slowmo", "method__momentum": "keep"},
            1,
            1,
            1,
        ),  # the slow buffer stays where it is
        ({"method__name": "slowmo"}, 1, 2, 2),
    ],
    ids=str,
)
def test_bytes_are_those_of_models_and_of_averaged_buffers(
    run_small: Runner, keys: dict[str, str], first: int, later: int, up: int
) -> None:
    rows = pd.read_csv(run_small(rounds=3, **{**WORKERS, "optimizer__momentum": 0.9, **keys}) / "metrics.csv")
    one = 4 * 4 * (64 * 64 + 64 + 64 * 10 + 10)  # four workers, float32, a hidden layer of 64
    assert rows["bytes_down"].tolist()[1:] == [first * one, later * one, later * one]
    assert rows["bytes_up"].tolist()[1:] == [up * one] * 3
