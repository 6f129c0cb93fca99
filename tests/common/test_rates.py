"""Schedules over local steps, as training meets them."""

import pytest

from clients.base import Client
from clients.local.sampling import check_sampling_and_schedule
from clients.local.worker import Worker
from common.errors import UserError
from common.sections import Value
from tests.clients.jobs import small
from tests.conftest import Runner

LARGE_BATCH: dict[str, Value] = {
    "clients__count": 1,
    "schedule__name": "polynomial-steps",
    "optimizer__learning_rate_scaling": "sqrt",
    "local__batch_size": 256,
    "schedule__warmup_epochs": 0.25,
}


def test_the_rates_of_a_run_are_those_of_the_rule() -> None:
    worker = Worker(small(rounds=2, local__steps=4, **LARGE_BATCH))
    rates = []
    for server_round in (1, 2):
        client = Client(worker, 0)
        client.server_round = server_round
        rates += client.step_rates(4)
    # 1437 samples make an epoch of 6 steps, and the warm-up takes 6 of 8: lr is 0.1 sqrt(256 / 64).
    assert rates == pytest.approx([0.2 * share for share in (1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1, 1 / 2)])


def test_a_warm_up_longer_than_the_run_is_refused(run_small: Runner) -> None:
    with pytest.raises(UserError, match=r"the warm-up takes 48 of the 18 local steps of the run"):
        run_small(**{**LARGE_BATCH, "schedule__warmup_epochs": 2.0})


def test_a_warm_up_has_the_steps_of_a_pass_without_the_last_smaller_batch() -> None:
    keys = {**LARGE_BATCH, "local__drop_last": True, "schedule__warmup_epochs": 0.5}
    client = Client(Worker(small(rounds=3, local__steps=4, **keys)), 0)
    # 1437 // 256 = 5 steps a pass: W = 0.5 * 4 * 5 = 10 of 12 steps, where with the smaller batch it were 12.
    client.server_round = 3
    check_sampling_and_schedule(client)
    assert client.step_rates(4) == pytest.approx([0.2 * 9 / 10, 0.2, 0.2, 0.2 / 2])


def test_several_warm_ups_are_refused() -> None:
    with pytest.raises(UserError, match=r"set one of schedule\.warmup-steps"):
        small(schedule__warmup_epochs=0.5, schedule__warmup_rounds=1)


@pytest.mark.parametrize("optimizer", ["lars", "lamb", "adamw"])
def test_one_client_that_keeps_its_optimizer_is_one_long_run(optimizer: str, run_small: Runner) -> None:
    """K = 1: rounds are nothing but pauses, whatever the optimiser."""
    keys = {
        "method__name": "localsgd",
        "method__momentum": "keep",
        "local__sampling": "shard",
        "optimizer__name": optimizer,
        "optimizer__learning_rate": 0.01,
        "optimizer__momentum": 0.9 if optimizer == "lars" else 0.0,
        "clients__count": 1,
        "clients__fraction": 1.0,
        "model__name": "linear",
        "augmentation__name": "none",
        "schedule__name": "polynomial-steps",
    }
    hashes = set()
    for rounds, steps in ((6, 2), (2, 6)):
        path = run_small(f"{rounds}", rounds=rounds, local__steps=steps, **keys)
        hashes.add((path / "model.safetensors").read_bytes())
    assert len(hashes) == 1
