"""Several clients on one node: each does what it would do on a node of its own."""

from flwr.app import ConfigRecord, Context, Message, RecordDict

from clients.app import app
from common.bundle import BUNDLE, pack, unpack_answers
from common.errors import CLIENT_FAILED, CLIENT_REFUSED
from common.flower import assume_task_identity
from common.records import to_record
from runtimes.sequential import make_context
from tests.clients.jobs import global_model, small

PLACES = 3
CONFIG = small(local__steps=2, method__name="scaffold", resources__clients_per_node=PLACES)
SERVER_ROUND = ConfigRecord({"server-round": 1})


def ask(context: Context, job: str, content: RecordDict) -> Message:
    assume_task_identity()
    return app(Message(content, dst_node_id=9, message_type=job), context)


def work() -> RecordDict:
    model = global_model(CONFIG)
    control = {name: value * 0 for name, value in model.items()}
    return RecordDict({"arrays": to_record(model), "control": to_record(control), "config": SERVER_ROUND})


def test_clients_of_a_node_answer_and_keep_what_each_would_by_itself() -> None:
    shared = make_context(1, 2, CONFIG.flat(), 9)  # the second of two nodes: clients 3, 4 and 5
    reply = ask(shared, "train", pack({2: work(), 0: work()}))
    answers = unpack_answers(reply.content)
    assert list(answers) == [2, 0]
    for place, answer in answers.items():
        alone = make_context(3 + place, 6, CONFIG.flat(), 9)
        expected = ask(alone, "train", work()).content
        assert answer.content is not None
        assert answer.content["arrays"] == expected["arrays"]
        own = {name: record for name, record in shared.state.items() if name.startswith(f"{place}/")}
        assert own == {f"{place}/{name}": record for name, record in alone.state.items()}
        assert own
    assert not any(name.startswith("1/") for name in shared.state)


def test_an_error_is_that_of_one_client() -> None:
    bad = RecordDict({"arrays": to_record({}), "control": to_record({}), "config": SERVER_ROUND})
    answers = unpack_answers(
        ask(make_context(0, 2, CONFIG.flat(), 9), "train", pack({0: bad, 1: work()})).content
    )
    assert answers[0].error is not None
    assert answers[0].error.code in (CLIENT_FAILED, CLIENT_REFUSED)
    assert answers[1].content is not None


def test_a_bundle_for_other_clients_than_the_node_serves_is_refused_with_a_line() -> None:
    context = make_context(0, 2, CONFIG.flat(), 9)
    for content in (pack({PLACES: work()}), RecordDict({BUNDLE: ConfigRecord({"places": [0]})})):
        reply = ask(context, "train", content)
        assert reply.error.code == CLIENT_REFUSED
        assert reply.error.reason.startswith("a message to several clients is refused: it ")
        assert not context.state
