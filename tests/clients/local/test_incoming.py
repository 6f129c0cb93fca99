"""Messages from a server that sends whatever it likes: each is one clear error reply, and none is kept."""

import pickle
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.app import app
from clients.node.client import make_client
from clients.registry import available_methods
from common.errors import CLIENT_REFUSED
from common.flower import assume_task_identity
from common.records import Tensors, to_array, to_record, to_tensors
from runtimes.sequential import make_context
from server.messages.divergence import is_of_server
from tests.clients.jobs import global_model, small
from tests.conftest import example_of, small_config
from tests.npy_bytes import header, npy

CONFIG = small(local__steps=1, method__name="scaffold")
JOBS = ["train", "evaluate", "query.loss"]
F32 = "float32"


class Opened:
    """Writes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.fixture(scope="module")
def model() -> Tensors:
    return global_model(CONFIG)


@pytest.fixture
def context() -> Context:
    return make_context(1, 6, CONFIG.flat(), 3)


def content(model: Tensors, **config: Any) -> RecordDict:
    """Return what a client of SCAFFOLD is sent to train, or to evaluate with."""
    control = {name: torch.zeros_like(value) for name, value in model.items()}
    entries = {"server-round": 1, "one-batch": False}
    entries |= {name.replace("_", "-"): value for name, value in config.items()}
    return RecordDict(
        {"arrays": to_record(model), "control": to_record(control), "config": ConfigRecord(entries)}
    )


def ask(job: str, records: RecordDict, context: Context) -> Message:
    assume_task_identity()
    return app(Message(records, dst_node_id=3, message_type=job), context)


def refusal(job: str, records: RecordDict, context: Context) -> str:
    """Return the reason of a refusal, after a look that nothing was kept and that the node is alive."""
    before = dict(context.state)
    reply = ask(job, records, context)
    assert reply.has_error()
    assert reply.error.code == CLIENT_REFUSED, reply.error.reason
    assert dict(context.state) == before
    assert not ask("query.describe", RecordDict({"config": ConfigRecord()}), context).has_error()
    reason = reply.error.reason
    assert reason is not None
    assert "\n" not in reason
    assert len(reason) < 700
    return reason


@pytest.mark.parametrize("job", JOBS)
def test_what_a_server_sends_is_answered(job: str, model: Tensors, context: Context) -> None:
    assert not ask(job, content(model), context).has_error()


@pytest.mark.parametrize("job", JOBS)
def test_a_model_that_is_not_ours_is_refused(job: str, model: Tensors, context: Context) -> None:
    name = next(iter(model))
    shape = tuple(model[name].shape)
    for value, reason in [
        (model[name][:1], f"is float32{(1, *shape[1:])}, but the model's is float32{shape}"),
        (model[name].reshape(-1), f"but the model's is float32{shape}"),
        (model[name].double(), f"is float64{shape}"),
        (torch.tensor(1.0), "is float32(), but"),
    ]:
        assert reason in refusal(job, content({**model, name: value}), context)
    unknown = content({**model, "a\nb": torch.ones(1)})
    assert "an array 'a\\nb', which the model does not have" in refusal(job, unknown, context)
    partial = content({key: value for key, value in model.items() if key != name})
    assert f"lacks the array '{name}'" in refusal(job, partial, context)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"server_round": "1"}, "server-round = '1', which must be a whole number"),
        ({"server_round": -1}, "server-round = -1"),
        ({"server_round": True}, "server-round = True"),
        ({"server_round": 10**15}, "server-round = 1000000000000000"),
        ({"server_round": [1]}, "server-round = [1]"),
        ({"local_steps": 2.5}, "local-steps = 2.5"),
        ({"local_steps": -4}, "local-steps = -4"),
        ({"first_step": b"\x80\x04"}, "first-step = b'"),
        ({"one_batch": "x" * 10**6}, "which must be true or false"),
        ({"size": 3}, "size = 3, which must be a string"),
        ({"size": "../../etc"}, "size = '../../etc', which is not a size of this run"),
        ({"size": "999999999"}, "which is not a size of this run"),
    ],
)
def test_entries_of_wrong_kinds_are_refused(
    entries: dict[str, Any], reason: str, model: Tensors, context: Context
) -> None:
    assert reason in refusal("train", content(model, **entries), context)


@pytest.mark.parametrize("job", [*JOBS, "query.prelude", "query.personal_model"])
def test_missing_records_are_refused(job: str, model: Tensors, context: Context) -> None:
    assert f"no 'config', which '{job}' needs" in refusal(job, RecordDict(), context)
    assert "no 'arrays'" in refusal(job, RecordDict({"config": ConfigRecord({"server-round": 1})}), context)
    records = content(model)
    records["config"] = ConfigRecord()
    assert "has no 'server-round'" in refusal(job, records, context)
    records["config"] = MetricRecord({"server-round": 1})
    assert "'config' is a MetricRecord, not a ConfigRecord" in refusal(job, records, context)


def test_a_description_is_asked_for_with_a_count(context: Context) -> None:
    for value in ("six", -1, [6]):
        records = RecordDict({"config": ConfigRecord({"num-clients": value})})
        assert "num-clients" in refusal("query.describe", records, context)
    assert "no 'config'" in refusal("query.describe", RecordDict(), context)


@pytest.mark.parametrize(
    "exchange", [{}, {"number": 1}, {"number": "1", "lost": ["0/1"]}, {"number": 1, "lost": [1]}]
)
def test_a_broken_number_of_an_exchange_is_refused(
    exchange: dict[str, Any], model: Tensors, context: Context
) -> None:
    records = content(model)
    records["exchange"] = ConfigRecord(exchange)
    assert "'exchange'" in refusal("train", records, context)
    records["exchange"] = MetricRecord({"number": 1})
    assert "'exchange' is a MetricRecord" in refusal("train", records, context)


def test_claimed_sizes_cost_nothing_and_pickles_are_never_loaded(
    model: Tensors, context: Context, tmp_path: Path
) -> None:
    target, before = tmp_path / "opened", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    objects = npy(np.array([Opened(target)], dtype=object), allow_pickle=True)
    name = next(iter(model))
    for array in [
        Array(F32, (2**31,), "numpy.ndarray", header((2**31,)) + b"1234"),
        Array(F32, (2**62, 2**62), "numpy.ndarray", header((2**62, 2**62))),
        Array(F32, (-1, -1), "numpy.ndarray", header((-1, -1)) + b"1234"),
        Array("object", (1,), "numpy.ndarray", objects),
        Array("object", (1,), "numpy.ndarray", header((1,), "|O") + b"12345678"),
        Array(F32, (1,), "numpy.ndarray", pickle.dumps(Opened(target))),
        Array(F32, (2,), "torch.save", npy(np.ones(2, F32))),
        Array("nonsense", (2,), "numpy.ndarray", b""),
    ]:
        for section in ("arrays", "control"):
            records = content(model)
            records.array_records[section][name] = array
            assert "that cannot be read" in refusal("train", records, context)
    assert not target.exists()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_complex_numbers_are_refused(model: Tensors, context: Context) -> None:
    records = content(model)
    records["extra"] = ArrayRecord({"z": to_array(np.ones(2, np.complex64))})
    assert "'extra' has complex numbers in 'z'" in refusal("train", records, context)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("job", JOBS)
def test_numbers_that_are_not_finite_are_refused(
    job: str, number: float, model: Tensors, context: Context
) -> None:
    name = next(iter(model))
    bad = model[name].clone()
    bad.view(-1)[-1] = number
    reason = refusal(job, content({**model, name: bad}), context)
    assert reason == f"the message's 'arrays' has a value that is not finite in '{name}'"
    assert is_of_server(reason)
    records = content(model)
    records["control"] = to_record({**model, name: bad})
    assert "'control' has a value that is not finite" in refusal(job, records, context)


@pytest.mark.parametrize("job", JOBS)
def test_a_section_that_does_not_fit_is_refused(job: str, model: Tensors, context: Context) -> None:
    name = next(iter(model))
    good = {key: value * 0 for key, value in model.items()}
    for section, reason in [
        ({**good, name: good[name].double()}, f"'control' has '{name}' as float64"),
        ({**good, name: good[name][:1]}, f"'control' has '{name}' as float32(1, "),
        ({**good, "more": good[name]}, "'control' has an unknown array 'more'"),
        ({key: value for key, value in good.items() if key != name}, f"'control' lacks the array '{name}'"),
    ]:
        records = content(model)
        records["control"] = to_record(section)
        assert reason in refusal(job, records, context)
    records = content(model)
    records["momentum"] = to_record(good)
    assert "the section 'momentum', which clients of this method do not" in refusal(job, records, context)


def test_a_section_that_training_needs_has_to_be_there(model: Tensors, context: Context) -> None:
    records = content(model)
    del records["control"]
    assert "no 'control', which 'train' needs" in refusal("train", records, context)
    assert not ask("evaluate", records, context).has_error()


@pytest.mark.parametrize("method", available_methods())
def test_what_a_method_declares_is_enough_to_train_with_and_needed(method: str) -> None:
    config = small_config(
        **{**example_of(method), "local__epochs": 0, "local__steps": 1, "method__name": method}
    )
    context = make_context(1, 6, config.flat(), 3)
    client = make_client(context)
    shared = {name: x for name, x in client.worker.model_state.items() if name not in client.personal_names()}
    records = RecordDict({"arrays": to_record(shared), "config": ConfigRecord({"server-round": 1})})
    for name, section in client.receives().items():
        if section.needed_for:
            assert f"no '{name}', which 'train' needs" in refusal("train", records, context)
            records[name] = to_record({"w": torch.ones(3)})
            assert f"'{name}' lacks the array" in refusal("train", records, context)
            ones = {key: torch.ones_like(x) for key, x in section.arrays.items()}
            records[name] = to_record(ones)
    trained = ask("train", records, context)
    assert not trained.has_error(), trained.error.reason

    kept = ask("query.get_state", RecordDict({"config": ConfigRecord()}), context).content
    back = ask("query.set_state", kept, context)
    assert not back.has_error(), back.error.reason


def test_what_an_optimiser_is_to_continue_with_has_to_fit() -> None:
    config = small(local__steps=1, method__name="localsgd", optimizer__name="adamw")
    context = make_context(1, 6, config.flat(), 3)
    model = global_model(config)
    records = RecordDict({"arrays": to_record(model), "config": ConfigRecord({"server-round": 1})})
    first = ask("train", records, context)
    assert not first.has_error()
    optimizer = to_tensors(first.content.array_records["optimizer"])
    records["optimizer"] = to_record(optimizer)
    assert not ask("train", records, context).has_error()
    key = next(key for key in optimizer if key.startswith("exp_avg/"))
    for changed, reason in [
        ({**optimizer, key: optimizer[key][:1]}, f"'optimizer' has '{key}' as float32(1"),
        ({**optimizer, "exp_avg/nothing": optimizer[key]}, "'optimizer' has an unknown array"),
        ({name: value for name, value in optimizer.items() if name != key}, f"lacks the array '{key}'"),
    ]:
        records["optimizer"] = to_record(changed)
        assert reason in refusal("train", records, context)


def test_a_refused_message_settles_nothing(model: Tensors, context: Context) -> None:
    records = content(model)
    records["exchange"] = ConfigRecord({"number": 1, "lost": []})
    assert not ask("train", records, context).has_error()
    assert "aside" in context.state
    later = content({**model, next(iter(model)): torch.ones(1)})
    later["exchange"] = ConfigRecord({"number": 2, "lost": ["1/1"]})
    refusal("train", later, context)  # compares the state before and after


def test_too_many_things_are_refused(
    model: Tensors, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clients.local.incoming._MAX_ARRAYS", 100)
    many = content(model)
    for number in range(100):
        many[f"section-{number}"] = ArrayRecord()
    assert "records, more than 64" in refusal("train", many, context)
    one, crowded = to_array(np.ones(1, F32)), content(model)
    crowded["crowd"] = ArrayRecord()
    for number in range(101):
        crowded.array_records["crowd"][str(number)] = one
    assert "'crowd' is too large" in refusal("train", crowded, context)
    long = content(model)
    long["x" * 10**6] = ConfigRecord()
    assert "of 1000000 characters" in refusal("train", long, context)


def test_a_state_of_another_form_is_refused(model: Tensors, context: Context) -> None:
    name = next(iter(model))
    good = {key: value * 0 for key, value in model.items()}
    for state, reason in [
        ({**good, name: good[name][:1]}, f"'control' has '{name}' as float32(1"),
        ({name: good[name]}, "'control' lacks the array"),
        ({**good, name: good[name] + float("inf")}, "'control' has a value that is not finite"),
    ]:
        assert reason in refusal("query.set_state", RecordDict({"control": to_record(state)}), context)
    assert not ask("query.set_state", RecordDict({"control": to_record(good)}), context).has_error()


def test_a_state_that_no_client_keeps_is_refused(model: Tensors, context: Context) -> None:
    for name in ("aside", "met", "aside::control", "../control"):
        state = RecordDict({name: ArrayRecord({"w": to_array(np.ones(1, F32))})})
        assert "which no client keeps" in refusal("query.set_state", state, context)
    with pytest.raises(ValueError, match="steal"):  # Flower answers it with an error of its own
        ask("query.steal", content(model), context)


@given(
    st.sampled_from([*JOBS, "query.describe", "query.set_state", "query.prelude"]),
    st.dictionaries(st.sampled_from(["server-round", "size", "local-steps", "one-batch", "num-clients"]),
                    st.one_of(st.text(max_size=5), st.booleans(), st.floats(), st.binary(max_size=5),
                              st.integers(-5, -1), st.lists(st.text(max_size=3), min_size=1, max_size=2))),
    st.sampled_from(["arrays", "control", "aside", "met", "config", "exchange", ""]),
    st.binary(max_size=100),
    st.sampled_from([F32, "int64", "object", "U5", ""]),
)  # fmt: skip
@settings(max_examples=30)
def test_any_message_is_a_reply_and_the_node_lives(
    job: str, entries: dict[str, Any], section: str, data: bytes, dtype: str
) -> None:
    context = make_context(1, 6, CONFIG.flat(), 3)
    records = RecordDict({"config": ConfigRecord({"server-round": 1, **entries})})
    records[section] = ArrayRecord({"w": Array(dtype, (2,), "numpy.ndarray", data)})
    reply = ask(job, records, context)
    if reply.has_error():
        assert "\n" not in str(reply.error.reason)
    assert not ask("query.describe", RecordDict({"config": ConfigRecord()}), context).has_error()
