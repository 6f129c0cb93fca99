"""Replies whose changes are compressed: what the server makes of them, whatever the bytes."""

from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Message

from common.compressions import compression_generator, compression_of
from common.records import to_tensors
from server.messages.decompression import Decompression
from server.messages.replies import FailedRoundError, ReplyCheck
from tests.common.configs import make_config
from tests.strategies.messages import make_message, make_reply, record

CONFIG = make_config({"compression.name": "top-k", "compression.fraction": 0.5})
MODEL: dict[str, Any] = {"w": [[1.0, 2.0], [3.0, 4.0]], "n": torch.tensor(3)}
CHANGE = torch.tensor([0.0, 10.0, 0.0, -20.0])


def data(change: torch.Tensor = CHANGE) -> np.ndarray:
    compression = compression_of(CONFIG)
    assert compression is not None
    return compression.encode(change, compression_generator(CONFIG.seed, 1, 7, 0)).numpy()


def asked() -> Message:
    message = make_message()
    message.content["arrays"] = record(MODEL)
    message.content["config"] = ConfigRecord({"server-round": 1})
    return message


def check() -> ReplyCheck:
    compression = compression_of(CONFIG)
    assert compression is not None
    decompression = Decompression(compression, CONFIG.seed, {7: asked()})
    return ReplyCheck([7], {7: record(MODEL)}, False, decompression=decompression)


def test_x_plus_the_change_arrives_and_the_bytes_that_were_sent_are_counted() -> None:
    checker = check()
    (accepted,) = checker.in_client_order([(7, make_reply({**MODEL, "w": data()}, 10))])
    model = to_tensors(accepted.content["arrays"])  # type: ignore[arg-type]
    assert model["w"].tolist() == [[1.0, 12.0], [3.0, -16.0]]
    assert model["n"].item() == 3
    assert checker.num_bytes == 1 + 2 * 4 + 8  # bits of the places, two values, the counter


def test_a_model_that_is_not_compressed_is_taken_as_it_is() -> None:
    checker = check()
    (accepted,) = checker.in_client_order([(7, make_reply(MODEL, 10))])
    assert to_tensors(accepted.content["arrays"])["w"].tolist() == MODEL["w"]  # type: ignore[arg-type]
    assert checker.num_bytes == 4 * 4 + 8


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ({"w": data()[:-1]}, "compressed change of 'w' that cannot be read: 8 bytes instead of 9"),
        ({"w": np.zeros(9, np.uint8)}, "'w' that cannot be read: places that are not in the array"),
        ({"w": np.zeros((3, 3), np.uint8)}, "compressed change of 'w' that cannot be read"),
        ({"w": data(CHANGE * float("inf"))}, "a value that is not finite in 'w'"),
        ({"n": np.zeros(9, np.uint8)}, "compressed change of 'n' that cannot be read"),
    ],
)
def test_other_bytes_are_a_fault(model: dict[str, Any], reason: str) -> None:
    with pytest.raises(FailedRoundError, match=reason):
        list(check().in_client_order([(7, make_reply({**MODEL, **model}, 10))]))
