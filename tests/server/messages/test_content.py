"""Replies from a machine that sends whatever it likes: each is one clear fault, and none is averaged in."""

import pickle
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.app import app
from common.errors import ClientFailureError, UserError
from common.records import to_array, to_ndarray
from runtimes.sequential import SequentialGrid
from server.experiment import run_experiment
from server.messages.description import check_agreement, device_remarks, read_description, version_remarks
from server.messages.exchange import exchange
from server.messages.replies import ReplyCheck
from server.records.progress import PlainLines
from tests.conftest import small_config
from tests.npy_bytes import header, npy
from tests.strategies.messages import make_reply, record

MODEL: dict[str, Any] = {"w": [1.0, 2.0], "n": torch.tensor(3)}


class Opened:
    """Writes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.path), "w")


def faults(*replies: Message, **options: Any) -> list[str]:
    """Return the faults of replies, of client 0, 1 and so on."""
    cohort = list(range(len(replies)))
    check = ReplyCheck(cohort, dict.fromkeys(cohort, record(MODEL)), True, **options)
    accepted = list(check.in_client_order(list(enumerate(replies))))
    assert len(accepted) + len(check.failures) == len(replies)
    return [failure.reason for failure in check.failures]


def with_array(array: Array, section: str = "arrays") -> Message:
    reply = make_reply(MODEL, 10)
    sections = reply.content.array_records
    if section not in sections:
        reply.content[section] = ArrayRecord()
    reply.content[section]["w"] = array  # type: ignore[index]
    return reply


def with_metrics(**metrics: Any) -> Message:
    reply = make_reply(MODEL, 10)
    for name, value in metrics.items():
        reply.content.metric_records["metrics"][name.replace("_", "-")] = value
    return reply


F32 = "float32"
ARRAYS: dict[str, tuple[Array, str]] = {
    "says float32(2,), holds more": (Array(F32, (2,), "numpy.ndarray", npy(np.ones(3, F32))), "it holds"),
    "says float32(2,), holds float64": (Array(F32, (2,), "numpy.ndarray", npy(np.ones(2))), "it holds"),
    "no bytes": (Array(F32, (2,), "numpy.ndarray", b""), "cannot be read"),
    "cut": (Array(F32, (2,), "numpy.ndarray", npy(np.ones(2, F32))[:-3]), "cannot be read"),
    "longer": (Array(F32, (2,), "numpy.ndarray", npy(np.ones(2, F32)) + b"x"), "cannot be read"),
    "another format": (Array(F32, (2,), "torch.save", npy(np.ones(2, F32))), "serialised as 'torch.save'"),
    "bytes of text": (Array(F32, (2,), "numpy.ndarray", b"\x93NUMPY\x09\x09" + b"x" * 99), "unknown version"),
    "unknown dtype": (Array("float33", (2,), "numpy.ndarray", header((2,))), "expected float32(2,)"),
    "negative shape": (Array(F32, (-2, -1), "numpy.ndarray", header((2,))), "expected float32(2,)"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_that_is_not_what_it_says_is_a_fault(name: str) -> None:
    array, reason = ARRAYS[name]
    assert reason in faults(with_array(array))[0]
    assert faults(make_reply(MODEL, 10), with_array(array))[0].count("\n") == 0


@pytest.mark.parametrize(
    "array",
    [
        Array(F32, (2**31,), "numpy.ndarray", header((2**31,)) + b"1234"),
        Array(F32, (2**31,), "numpy.ndarray", header((2**31,), ">f4") + b"1234"),
        Array(F32, (2**62, 2**62), "numpy.ndarray", header((2**62, 2**62))),
        Array("object", (2,), "numpy.ndarray", header((2,), "|O")),
        Array("foo", (2,), "numpy.ndarray", b""),
        Array(F32, (-1, -1), "numpy.ndarray", header((-1, -1)) + b"1234"),
    ],
    ids=["8 GB", "8 GB of another byte order", "2^124 values", "objects", "unknown dtype", "negative"],
)
def test_claimed_sizes_cost_nothing(array: Array) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "cannot be read" in faults(with_array(array, "control"))[0]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    target = tmp_path / "opened"
    objects = np.array([Opened(target)], dtype=object)
    for data in (npy(objects, allow_pickle=True), pickle.dumps(Opened(target))):
        for dtype in ("object", F32):
            array = Array(dtype, (1,), "numpy.ndarray", data)
            assert "cannot be read" in faults(with_array(array, "control"))[0]
    assert not target.exists()


@pytest.mark.parametrize("values", [np.asfortranarray(np.ones((2, 3), F32)), np.ones((2, 3), ">f4")])
def test_other_layouts_of_memory_are_read(values: np.ndarray) -> None:
    array = Array(str(values.dtype), values.shape, "numpy.ndarray", npy(values))
    assert (to_ndarray(array) == values).all()


@given(st.binary(max_size=200), st.sampled_from([F32, "int64", "object", "U5", ""]), st.integers(-2, 2**40))
@settings(max_examples=150)
def test_any_bytes_are_an_array_or_a_fault(data: bytes, dtype: str, size: int) -> None:
    for content in (data, header((2,)) + data, npy(np.ones(2, F32))[: len(data)] + data):
        array = Array(dtype, (size,), "numpy.ndarray", content)
        for reason in faults(with_array(array, "control")):
            assert "\n" not in reason


METRICS: dict[str, tuple[Message, str]] = {
    "negative": (with_metrics(num_examples=-5), "'num-examples' is -5, below 0"),
    "more than described": (with_metrics(num_examples=10**9), "described itself with 50"),
    "a list": (with_metrics(num_examples=[1, 2]), "is [1, 2], not a number"),
    "a list with an infinity": (with_metrics(other=[1.0, float("inf")]), "'other' is [1.0, inf]"),
    "a name with a line break": (with_metrics(**{"a\nb": 1}), r"'a\nb'"),
    "a long name": (with_metrics(**{"x" * 10**6: 1}), "of 1000000 characters"),
    "10^4 of them": (with_metrics(**{f"m{i}": i for i in range(10**4)}), "metrics, more than 1000"),
}


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_that_cannot_be_is_a_fault(name: str) -> None:
    reply, reason = METRICS[name]
    found = faults(reply, most_examples={0: 50})
    assert reason in found[0]
    assert len(found[0]) < 500


def test_texts_for_metrics_are_a_fault() -> None:
    reply = make_reply(MODEL, 10)
    reply.content["metrics"] = ConfigRecord({"num-examples": "10"})
    assert faults(reply) == ["the reply lacks the metric 'num-examples'"]


def test_a_reply_without_what_a_row_needs_is_a_fault() -> None:
    assert faults(make_reply(MODEL, 10), required=("num-examples", "train_loss")) == [
        "the reply lacks the metric 'train_loss'"
    ]


def test_very_many_sections_are_a_fault() -> None:
    reply = make_reply(MODEL, 10)
    for number in range(10**5):
        reply.content[f"s{number}"] = ArrayRecord()
    assert "records, more than 64" in faults(reply)[0]


def test_a_section_of_another_shape_than_the_other_clients_is_a_fault() -> None:
    def control(*values: float) -> Message:
        return make_reply(MODEL, 10, sections={"control": {"c": list(values)}})

    found = faults(control(1.0, 2.0), control(3.0), control(4.0, 5.0))
    assert found == ["the reply's 'control' has 'c' as float32(1,), that of client 0 as float32(2,)"]


def test_complex_numbers_are_a_fault() -> None:
    reply = make_reply(MODEL, 10)
    reply.content["control"] = ArrayRecord({"c": to_array(np.ones(2, np.complex64))})
    assert "complex numbers" in faults(reply)[0]


def test_a_reply_from_another_node_is_a_fault() -> None:
    reply = make_reply(MODEL, 10)
    assert faults(reply, nodes={0: reply.metadata.src_node_id}) == []
    assert "came from another node" in faults(reply, nodes={0: 77})[0]


def test_reasons_do_not_steer_a_terminal_and_are_cut() -> None:
    reason = "x" * 10**6 + "\nValueError: \x1b[2Jfalse\r\tend"
    found = faults(Message(Error(1000, reason), reply_to=make_reply(MODEL, 10)))
    assert len(found[0]) < 21_000
    assert found[0].splitlines()[-1].endswith("end")
    assert "\x1b" not in found[0]
    assert "\r" not in found[0]


def test_a_second_reply_to_a_message_counts_for_nothing() -> None:
    class Twice(SequentialGrid):
        """Delivers every reply twice, and another one that nobody asked for."""

        def pull_messages(self, message_ids: Any) -> list[Message]:
            return [reply for reply in super().pull_messages(message_ids) for _ in range(2)]

    config = small_config(clients__count=3)
    grid = Twice(app, 3, config.flat())
    query = RecordDict({"config": ConfigRecord({"num-clients": 3})})
    messages = {node: Message(query, node, "query.describe") for node in grid.get_node_ids()}
    assert [node for node, _ in exchange(grid, messages, 5.0)] == list(messages)


class Hostile(SequentialGrid):
    """One of its clients answers in training with what is not its model."""

    def exchange(self, messages: list[Message]) -> Any:
        for number, reply in enumerate(super().exchange(messages)):
            if messages[0].metadata.message_type == "train" and number == 1:
                reply.content.metric_records["metrics"]["num-examples"] = -1000
            yield reply


def test_one_hostile_client_ends_a_run_or_is_dropped_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(name: str, **options: Any) -> None:
        config = small_config(tmp_path / name, **options)
        run_experiment(config, Hostile(app, 6, config.flat()), PlainLines())

    with pytest.raises(ClientFailureError, match="metric 'num-examples' is -1000, below 0"):
        run("raised")
    run("dropped", failures__policy="drop", failures__max_fraction=0.5)
    assert "(the reply's metric 'num-examples' is -1000, below 0)" in capsys.readouterr().out


# What nodes report of themselves.

DESCRIBED = {
    "client-id": 0, "keeps-state": 0, "is-personalised": 0, "num-examples": 3, "label-counts": [1, 2],
}  # fmt: skip


def described(config: dict[str, Any] | None = None, **metrics: Any) -> RecordDict:
    values = {**DESCRIBED, **{name.replace("_", "-"): value for name, value in metrics.items()}}
    return RecordDict(
        {
            "metrics": MetricRecord({name: value for name, value in values.items() if value is not None}),
            "config": ConfigRecord({"personal-names": [], **(config or {})}),
        }
    )


@pytest.mark.parametrize(
    "content",
    [
        described(client_id=-1), described(client_id=0.5), described(client_id=None),
        described(client_id=[0]), described(num_examples=-3), described(num_examples=2**60),
        described(label_counts=[1, -2]),
        described(label_counts=[1.5]), described(label_counts=3), described({"personal-names": 3}),
        described({"personal-names": [1]}), described({"versions": "x"}), RecordDict(),
        RecordDict({"metrics": MetricRecord(DESCRIBED)}),
    ],
)  # fmt: skip
def test_a_description_that_cannot_be_is_one_line(content: RecordDict) -> None:
    with pytest.raises(UserError, match="node 7 does not describe itself as a client") as error:
        read_description(7, content)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (described(label_counts=[1, 1, 1]), "number of classes"),
        (described({"personal-names": ["w"]}), "entries of the model that stay there"),
    ],
)
def test_nodes_that_cannot_be_of_one_run_are_named(content: RecordDict, what: str) -> None:
    one, other = read_description(7, described()), read_description(8, content)
    check_agreement([one, one])
    with pytest.raises(UserError, match=f"clients 0 and 0 differ in: {what}"):
        check_agreement([one, other])


def test_clients_that_train_on_the_cpu_beside_a_gpu_are_named() -> None:
    slow, fast = (
        read_description(7, described({"device": device}, client_id=client_id))
        for device, client_id in (("cpu", 4), ("cuda", 5))
    )
    assert list(device_remarks([slow, fast], "cpu")) == []
    assert list(device_remarks([fast], "cuda")) == []
    (remark,) = device_remarks([slow, fast], "cuda")
    assert remark.startswith("client 4: training is on the CPU")
    assert "resources.gpus-per-client" in remark


def test_other_versions_are_named() -> None:
    from common.versions import own_versions

    same = read_description(7, described({"versions": own_versions()}))
    old = read_description(8, described({"versions": ["torch 1.0", *own_versions()[:1]]}, client_id=4))
    assert list(version_remarks([same])) == []
    (remark,) = version_remarks([same, old])
    assert remark.startswith(f"client 4: torch 1.0, but torch {torch.__version__} here")
