"""Which state a client may keep, and of which form."""

import pytest
import torch

from clients.base import Client
from clients.local.incoming import RefusedMessageError
from clients.local.worker import Worker
from clients.moon import Moon
from clients.node.state_checks import check_state, keeps_state, take_state
from clients.scaffold import Scaffold
from common.errors import UserError
from common.records import Payload
from tests.clients.jobs import equal, small


class Late(Client):
    """Keeps a section that there is only after a round."""

    def state_form(self) -> Payload:
        return {"late-*": {"w": torch.zeros(2)}}


def make(client_class: type[Client], state: Payload | None = None) -> Client:
    return client_class(Worker(small()), 0, state)


@pytest.mark.parametrize(
    ("client_class", "expected"), [(Client, False), (Scaffold, True), (Moon, True), (Late, True)]
)
def test_a_method_that_describes_a_state_keeps_one(client_class: type[Client], expected: bool) -> None:
    assert keeps_state(make(client_class)) == expected


def test_a_section_that_an_earlier_job_kept_is_not_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    client = make(Late, {"late-0": {"w": torch.zeros(2)}})
    monkeypatch.setattr(Late, "state_form", lambda self: pytest.fail("asked for the form"))
    check_state(client)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"other": {"w": torch.zeros(2)}}, "keeps the state 'other' without declaring it"),
        (
            {"late-0": {"w": torch.zeros(3)}},
            r"'w' as float32 of shape \(3,\): it must be float32 of shape \(2,",
        ),
        ([], "the state of Late must be a mapping of sections"),
    ],
)
def test_what_could_not_be_taken_back_is_refused(state: Payload, expected: str) -> None:
    client = make(Late)
    client.state = state
    with pytest.raises(UserError, match=expected):
        check_state(client)


def test_a_state_of_the_form_is_taken() -> None:
    client, state = make(Late), {"late-0": {"w": torch.ones(2)}, "late-10": {"w": torch.ones(2)}}
    take_state(client, state)
    assert equal(client.state["late-10"], state["late-10"])


@pytest.mark.parametrize(
    ("section", "value", "expected"),
    [
        ("other", torch.zeros(2), "the state 'other', which no client keeps"),
        ("late-0", torch.zeros(3), r"'late-0' has 'w' as float32\(3,\), expected float32\(2,\)"),
    ],
)
def test_a_state_of_another_form_is_refused(section: str, value: torch.Tensor, expected: str) -> None:
    with pytest.raises(RefusedMessageError, match=expected):
        take_state(make(Late), {section: {"w": value}})
