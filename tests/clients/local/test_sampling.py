import pytest
import torch

from clients.base import Client
from clients.local.sampling import (
    check_sampling_and_schedule,
    dealt,
    iterate_stream,
    share_of_process,
    steps_per_epoch,
)
from clients.local.worker import Worker
from common.errors import UserError
from common.randomness import torch_generator
from tests.clients.jobs import small

FIRST = torch.tensor([10, 9, 5, 6, 8, 11, 3, 1, 13, 7, 14, 12, 4, 15, 0, 2])
SECOND = torch.tensor([10, 0, 7, 4, 13, 8, 15, 11, 1, 9, 14, 12, 6, 5, 3, 2])


@pytest.mark.parametrize(
    ("permutation", "expected"),
    [
        (
            FIRST,
            {
                (0, 0): ([10, 5], [13, 14]),
                (0, 1): ([8, 3], [4, 0]),
                (1, 0): ([9, 6], [7, 12]),
                (1, 1): ([11, 1], [15, 2]),
            },
        ),
        (
            SECOND,
            {
                (0, 0): ([10, 7], [1, 14]),
                (0, 1): ([13, 15], [6, 3]),
                (1, 0): ([0, 4], [9, 12]),
                (1, 1): ([8, 11], [5, 2]),
            },
        ),
    ],
)
def test_the_deal_of_two_processes_with_two_workers_each(
    permutation: torch.Tensor, expected: dict[tuple[int, int], tuple[list[int], list[int]]]
) -> None:
    """A process of the original deals its own slice of the shuffle to the workers that it holds."""
    for (process, worker), batches in expected.items():
        own = share_of_process(permutation, process, 2)
        assert tuple(dealt(own, worker, 2, step, 2).tolist() for step in (0, 1)) == batches


def test_what_processes_do_not_divide_begins_again() -> None:
    shares = [share_of_process(torch.arange(10), process, 4).tolist() for process in range(4)]
    assert shares == [[0, 4, 8], [1, 5, 9], [2, 6, 0], [3, 7, 1]]
    assert share_of_process(torch.arange(5), 0, 1).tolist() == [0, 1, 2, 3, 4]


def test_a_run_deals_by_process() -> None:
    """Six workers in two processes of three: each deals its half of the shuffle, the union being the same."""
    given = {"local__sampling": "shuffle", "local__steps": 2, "partition__name": "iid"}
    plain, divided = Worker(small(**given)), Worker(small(**given, local__world_size=2))
    batches = [stream(divided, client, 1) for client in range(6)]
    order = torch.randperm(len(plain.train), generator=torch_generator(0, "deal", 0))
    for client, (first, second) in enumerate(batches):
        own, place = order[client // 3 :: 2], client % 3
        assert first == own[16 * place : 16 * (place + 1)].tolist()
        assert second == own[16 * (3 + place) : 16 * (4 + place)].tolist()
    assert len({sample for batch in batches for step in batch for sample in step}) == 6 * 2 * 16
    assert stream(plain, 1, 1) != batches[1]
    with pytest.raises(UserError, match=r"local\.world-size = 4 .* must divide them"):
        check_sampling_and_schedule(Client(Worker(small(**given, local__world_size=4)), 0))


def stream(worker: Worker, client_id: int, server_round: int) -> list[list[int]]:
    client = Client(worker, client_id)
    client.server_round = server_round
    return [batch.tolist() for batch in iterate_stream(client, client.budget)]


def epochs(worker: Worker, rounds: int) -> list[list[int]]:
    return [step for server_round in range(1, rounds + 1) for step in stream(worker, 0, server_round)]


@pytest.mark.parametrize("sampling", ["shuffle", "shard", "replacement"])
def test_batches_depend_on_the_step_not_on_the_rounds(sampling: str) -> None:
    single, many = (
        Worker(small(local__sampling=sampling, local__steps=steps, partition__name="iid")) for steps in (1, 7)
    )
    assert epochs(single, 14) == epochs(many, 2)
    assert stream(many, 1, 1) != stream(many, 0, 1)


def test_phases_go_on_in_the_stream() -> None:
    worker = Worker(
        small(local__sampling="shuffle", local__steps=1, local__phases="3:4", partition__name="iid")
    )
    plain = Worker(small(local__sampling="shuffle", local__steps=11, partition__name="iid"))
    assert epochs(worker, 5) == epochs(plain, 1)


def test_without_replacement_all_samples_of_an_epoch_are_distinct() -> None:
    config = small(local__sampling="shuffle", local__steps=5, local__steps_per_epoch=5, partition__name="iid")
    worker = Worker(config)
    drawn = []
    for server_round in (1, 2):  # an epoch each
        indices = [i for client in range(6) for batch in stream(worker, client, server_round) for i in batch]
        assert len(indices) == len(set(indices)) == 6 * 5 * 16
        drawn.append(indices)
    assert drawn[0] != drawn[1]
    assert set(drawn[0]) != set(drawn[1])  # what an epoch drops is dealt in others


def test_an_epoch_may_end_in_the_midst_of_a_round() -> None:
    config = small(local__sampling="shuffle", local__steps=7, local__steps_per_epoch=3, partition__name="iid")
    worker = Worker(config)
    steps = {client: epochs_of(worker, client) for client in range(6)}
    for epoch in range(4):
        indices = [
            i for client in range(6) for batch in steps[client][3 * epoch : 3 * epoch + 3] for i in batch
        ]
        assert len(set(indices)) == 6 * 3 * 16


def epochs_of(worker: Worker, client_id: int) -> list[list[int]]:
    return stream(worker, client_id, 1) + stream(worker, client_id, 2)


def test_with_replacement_samples_come_back() -> None:
    worker = Worker(
        small(local__sampling="replacement", local__steps=15, local__batch_size=96, partition__name="iid")
    )
    size = len(worker.train)
    drawn = torch.tensor([stream(worker, client, 1) for client in range(6)]).flatten()
    expected = size * (1 - (1 - 1 / size) ** len(drawn))
    assert len(drawn) == 6 * 15 * 96
    assert len(drawn.unique()) == pytest.approx(expected, rel=0.01)  # nearly all of 1437; a deal has all


def test_a_shard_is_passed_through_whole() -> None:
    worker = Worker(small(local__sampling="shard", local__steps=5, partition__name="iid"))
    own = worker.client_indices(0).tolist()
    per_pass = -(-len(own) // 16)
    batches = epochs(worker, -(-2 * per_pass // 5))
    first, second = (
        [i for batch in batches[k * per_pass : (k + 1) * per_pass] for i in batch] for k in (0, 1)
    )
    assert sorted(first) == sorted(second) == sorted(own)
    assert first != second


def test_as_many_whole_steps_as_the_data_allow() -> None:
    config = small(clients__count=32, local__batch_size=128, local__sampling="shuffle")
    assert steps_per_epoch(config, 50_000) == 12
    assert steps_per_epoch(config, 50_000) * 32 * 128 == 49_152  # samples of an epoch
    imagenet = small(clients__count=256, local__batch_size=32, local__sampling="shuffle")
    assert steps_per_epoch(imagenet, 1_281_167) == 156
    assert steps_per_epoch(small(local__steps_per_epoch=9), 50_000) == 9


def test_an_epoch_that_the_data_do_not_fill() -> None:
    client = Client(
        Worker(small(local__sampling="shuffle", local__steps_per_epoch=15, partition__name="iid")), 0
    )
    with pytest.raises(UserError, match="deals 1440 samples per epoch"):
        check_sampling_and_schedule(client)
