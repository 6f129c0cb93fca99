"""Every method trains in a stack as it does one by one, or says why not."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from flwr.app import ConfigRecord, Message, RecordDict

from clients._configuration import complete
from clients.app import app
from clients.local.stacked.answers import ALONE
from clients.local.stacked.members import trained
from clients.node.run_configuration import forget_run
from common.config import Config
from common.flower import new_array_record
from common.records import (
    ARRAYS,
    CONFIG,
    METRICS,
    PRELUDE,
    SERVER_ROUND,
    Tensors,
    to_payload,
    to_record,
    to_tensors,
)
from common.sections import Value
from datasets.transforms import Normalizer
from runtimes.sequential import SequentialGrid
from server.messages.cohort_grid import CohortGrid
from server.messages.conform import conform
from server.preparation import make_parts
from tests.conftest import small_config
from tests.contract.test_contract import METHODS, options

# Its hook asks for further mini-batches, as one client does.
ONE_BY_ONE = ("per-fedavg",)
ONE_CLIENT_A_ROUND = ("fedasync",)
# They compute their gradients by class in float32, whatever the model is in.
FLOAT32_ONLY = ("creff", "ratio-loss")
# One round shows all; the others' second one begins with what clients kept in the first.
KEEP_NOTHING = {
    *(method for method in METHODS if method.startswith("flwr:")),
    *("heteroavg", "heteroprox", "heteronova", "heterofl", "fedrolex", "scalefl"),
}
TINY: dict[str, Value] = {
    "clients__count": 4,
    "clients__fraction": 1.0,
    "rounds": 2,
    "local__batch_size": 24,
    "dataset__validation_fraction": 0.8,
    "partition__alpha": 0.5,
    "clients__evaluate_fraction": 0.0,
}

SMALLER: dict[str, dict[str, Value]] = {
    "fedbn": {"model__name": "stage-resnet", "model__blocks": "1-1-1-1", "model__width": 2},
}


def tiny(method: str, **overrides: Value) -> Config:
    """Build a configuration that costs little, with clients of different numbers of steps and samples."""
    keys = {"model__name": "mlp", **options(method), **TINY, **SMALLER.get(method, {}), **overrides}
    if "local__epochs" not in overrides:  # fewer than in the contract's runs: rounding grows with the steps
        keys["local__epochs"] = 0 if keys.get("local__steps") else 1
    return complete(small_config(**keys))  # type: ignore[arg-type]


@contextmanager
def precision(dtype: torch.dtype) -> Iterator[None]:
    """Let models, data and whatever is computed have a precision."""
    normalize = Normalizer.__call__
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        Normalizer.__call__ = lambda self, inputs: normalize(self, inputs).to(dtype)  # type: ignore[method-assign]
        yield
    finally:
        torch.set_default_dtype(before)
        Normalizer.__call__ = normalize  # type: ignore[method-assign]
        forget_run()


class Rounds:
    """The rounds of a run without evaluation and records, with everything that clients send and keep."""

    def __init__(self, config: Config, stack: int) -> None:
        self.said: list[str] = []
        self.values: list[tuple[str, torch.Tensor]] = []
        self._grid = SequentialGrid(app, config.clients.count, config.flat())
        self._grid.stack, self._grid.say = stack, self.said.append
        parts = make_parts(config, self._grid, self.said.append)
        self._clients, self._strategy = parts.clients, parts.strategy
        initial = to_tensors(parts.evaluation.initial_arrays())
        arrays = to_record(self._strategy.initial_model(initial, config.seed))
        for number in range(1, config.rounds + 1):
            arrays = self._round(number, arrays)
        self._grid.close()

    def _round(self, number: int, arrays: Any) -> Any:
        cohort = self._strategy.cohort(number) or list(range(self._grid.num_clients))
        view = CohortGrid(self._grid, [self._clients.node_ids[client] for client in cohort])
        shared = new_array_record(
            {name: array for name, array in arrays.items() if name not in self._clients.personal_names}
        )
        config = ConfigRecord({SERVER_ROUND: number})
        if self._strategy.prelude_clients(number, cohort):
            content = RecordDict({ARRAYS: shared, CONFIG: config})
            messages = self._strategy.build_messages(content, PRELUDE, view)
            self._strategy.aggregate_prelude(number, self._replies(messages))
        replies = self._replies(self._strategy.configure_train(number, shared, config, view))
        for reply in replies:
            self._note(reply)
        aggregated, _ = self._strategy.aggregate_train(number, replies)
        return conform(aggregated, arrays, "it")

    def _replies(self, messages: Any) -> list[Message]:
        replies = sorted(self._grid.send_and_receive(list(messages)), key=lambda m: m.metadata.src_node_id)
        for reply in replies:
            assert not reply.has_error(), reply.error.reason
        return replies

    def _note(self, reply: Message) -> None:
        node = reply.metadata.src_node_id
        metrics = {name: v for name, v in reply.content.metric_records[METRICS].items() if name != "seconds"}
        numbers = {name: torch.tensor(value) for name, value in sorted(metrics.items())}
        kept = to_payload(self._grid._context(node).state)
        sections: dict[str, Tensors] = {**to_payload(reply.content), "metrics": numbers}
        sections |= {f"state {name}": section for name, section in kept.items()}
        self.values += [
            (f"client of node {node}, {name}, {key}", value.clone())
            for name, section in sections.items()
            for key, value in section.items()
        ]


@pytest.fixture
def stacks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which each client that has trained in a stack adds the stack's size."""
    sizes: list[int] = []

    def counted(jobs: Sequence[Any]) -> Iterator[Any]:
        for item in trained(jobs):
            sizes.append(len(jobs))
            yield item

    monkeypatch.setattr("clients.local.stacked.answers.trained", counted)
    return sizes


def check_equal(stacked: Rounds, alone: Rounds, tolerance: float) -> None:
    assert [name for name, _ in stacked.values] == [name for name, _ in alone.values]
    for (name, value), (_, expected) in zip(stacked.values, alone.values, strict=True):
        assert value.dtype == expected.dtype, name
        torch.testing.assert_close(
            value, expected, rtol=tolerance, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )


def checks(method: str) -> Iterator[tuple[torch.dtype, float, dict[str, Value]]]:
    """Yield precisions with tolerances, and what the run is to be like."""
    if method not in FLOAT32_ONLY:
        yield torch.float64, 1e-10, {"rounds": 1} if method in KEEP_NOTHING else {}
    # Many steps, or BatchNorm over few samples, would enlarge what rounding makes different.
    if tiny(method).model.name == "mlp" and not method.startswith("flwr:"):
        yield torch.float32, 1e-4, {"rounds": 1, "optimizer__learning_rate": 0.01}


@pytest.mark.parametrize("method", METHODS)
def test_a_stack_computes_what_its_clients_do(method: str, stacks: list[int], record_property: Any) -> None:
    said: list[str] = []
    for dtype, tolerance, overrides in checks(method):
        config = tiny(method, **overrides)
        with precision(dtype):
            stacked, alone = Rounds(config, 8), Rounds(config, 1)
        check_equal(stacked, alone, tolerance)
        assert alone.said == []
        said += stacked.said
    reasons = sorted(set(said) - {ALONE})
    record_property("one by one", "; ".join(reasons))
    if method in ONE_BY_ONE:
        pytest.skip(reasons[0])
    assert reasons == []
    assert max(stacks, default=0) > 1 or method in ONE_CLIENT_A_ROUND
