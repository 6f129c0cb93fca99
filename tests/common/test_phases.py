import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.phases import Phases
from common.sections import numbers_by_phase
from server.checkpoints.keeping import Keeping
from tests.common.configs import make_config


@pytest.mark.parametrize(
    ("steps", "text", "last_rounds"),
    [(600, "3000:100,3600", (5, 11)), (4, "10:5,30:5", (2, 6)), (4, "24:6,48:12", (6, 10)), (7, "", ())],
)
def test_phases_end_with_the_last_whole_round(steps: int, text: str, last_rounds: tuple[int, ...]) -> None:
    assert Phases.parse(steps, text).last_rounds == last_rounds


def test_the_trace_of_a_run_with_two_borders() -> None:
    course = Phases.parse(4, "24:6,48:12")
    after = {r: (course.first_step(r + 1), course.phase(r + 1), course.steps(r + 1)) for r in range(1, 13)}
    assert [after[r][0] for r in (2, 4, 6, 8, 10, 11, 12)] == [8, 16, 24, 36, 48, 60, 72]
    assert [after[r][1] for r in (2, 4, 6, 8, 10, 11, 12)] == [0, 0, 1, 1, 2, 2, 2]
    assert [after[r][2] for r in (2, 4, 6, 8, 10, 11, 12)] == [4, 4, 6, 6, 12, 12, 12]


def test_evaluations_and_named_checkpoints_by_phase() -> None:
    """The trace above: evaluated every 2, 2, 1 rounds of a phase, kept every 4, 4, 1, both at its end."""
    config = make_config(
        {
            "local.epochs": 0, "local.steps": 4, "local.phases": "24:6,48:12", "rounds": 12,
            "evaluate.every-by-phase": "2,2,1", "checkpoint.keep-by-phase": "4,4,1",
        }
    )  # fmt: skip
    assert [r for r in range(1, 13) if config.evaluates(r)] == [2, 4, 6, 8, 10, 11, 12]
    assert [r for r in range(1, 13) if Keeping(config).marks(r, {})] == [4, 6, 10, 11, 12]


@pytest.mark.parametrize("text", ["24:6,48", "30:6,33:1", "24:30,36:1"])
def test_a_phase_without_a_round_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="would be skipped"):
        Phases.parse(30 if text == "24:6,48" else 6, text)


@pytest.mark.parametrize("text", ["x", "10:", "10:0", "20:2,10:2", "0:3", "10:5:5", "-3"])
def test_what_is_no_list_of_phases(text: str) -> None:
    with pytest.raises(ValueError, match=r"local\.phases must list"):
        Phases.parse(1, text)


@pytest.mark.parametrize(
    ("clients", "steps", "rounds", "last"),
    [(2, 4, 13200, 4), (4, 64, 413, 32), (8, 32, 413, 16), (8, 64, 207, 16), (4, 32, 825, 32)],
)
def test_equal_budgets_of_the_course(clients: int, steps: int, rounds: int, last: int) -> None:
    total = 105_600 // clients
    course = Phases.parse(steps, "", total)
    assert course.num_rounds(total) == rounds
    assert (course.steps(rounds - 1), course.steps(rounds), course.steps(rounds + 1)) == (steps, last, 0)
    assert course.first_step(rounds + 1) == total


lengths = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 9)), min_size=1, max_size=4)


@given(lengths, st.integers(0, 80))
def test_rounds_and_steps_add_up(parts: list[tuple[int, int]], total: int) -> None:
    starts, start = [0], 0
    for steps, extra in parts[:-1]:
        start += steps + extra
        starts.append(start)
    text = ",".join(f"{s}:{steps}" for s, (steps, _) in zip(starts[1:], parts[1:], strict=True))
    course = Phases.parse(parts[0][0], text, total)
    # Rounds of a phase: as many as its nominal length has room for.
    expected = [
        parts[i][0] for i in range(len(parts) - 1) for _ in range((starts[i + 1] - starts[i]) // parts[i][0])
    ]
    expected += [parts[-1][0]] * (80 // parts[-1][0] + 1)
    done = 0
    for server_round, steps in enumerate(expected, 1):
        assert course.first_step(server_round) == done
        steps = min(steps, total - done) if total else steps
        assert course.steps(server_round) == steps
        done += steps
    if total:
        assert done == total
        rounds = course.num_rounds(total)
        assert course.steps(rounds) > 0
        assert course.steps(rounds + 1) == 0


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"local.phases": "24:6", "local.steps": 30}, "would be skipped"),
        ({"local.phases": "24:6"}, "needs local.steps"),
        ({"evaluate.every-by-phase": "2,2"}, "evaluate.every-by-phase needs local.phases"),
        (
            {"local.steps": 4, "local.phases": "24:6", "checkpoint.keep-by-phase": "2"},
            "lists 1 numbers, and local.phases makes 2",
        ),
        (
            {"local.steps": 4, "local.phases": "24:6", "evaluate.every-by-phase": "2,0"},
            "such as '2,2,1', not '2,0'",
        ),
        ({"evaluate.every-by-phase": "x", "local.steps": 4}, "such as '2,2,1', not 'x'"),
        ({"evaluate.every-by-phase": "2", "evaluate.count": 3}, "not both"),
        ({"local.sampling": "shuffle"}, "needs local.steps"),
        ({"local.total-steps": 9}, "needs local.steps"),
        ({"evaluate.every-steps": 9}, "needs local.steps"),
        ({"local.steps": 4, "local.total-steps": 9, "rounds": 4}, "set rounds to 3"),
        ({"schedule.warmup-steps": 4, "schedule.warmup-rounds": 4}, "not several"),
        (
            {"local.steps": 4, "steps.rule": "qsr", "local.phases": "9:2"},
            "local.phases cannot be combined with",
        ),
        (
            {"local.steps": 4, "steps.rule": "linear", "schedule.name": "cosine-steps"},
            "needs local.total-steps",
        ),
        ({"evaluate.count": 4, "evaluate.every-steps": 4, "local.steps": 4}, "not both"),
        (
            {"schedule.warmup-learning-rate": 1.0, "optimizer.learning-rate": 0.5},
            "must not be above optimizer.learning-rate",
        ),
        (
            {
                "schedule.warmup-learning-rate": 0.7,
                "optimizer.learning-rate": 0.5,
                "optimizer.learning-rate-scaling": "linear",
                "local.batch-size": 64,
            },
            "must not be above optimizer.learning-rate",
        ),
    ],
)
def test_one_line_says_what_is_wrong(keys: dict[str, object], message: str) -> None:
    from common.errors import UserError

    with pytest.raises(UserError, match=message) as caught:
        make_config({**({"local.epochs": 0} if "local.steps" in keys else {}), **keys})  # type: ignore[dict-item]
    assert "\n" not in str(caught.value)


@given(st.lists(st.integers(1, 999_999_999), max_size=5), st.sampled_from([",", ", ", " ,"]))
def test_numbers_by_phase_are_read(numbers: list[int], comma: str) -> None:
    assert numbers_by_phase(comma.join(map(str, numbers)), "a.key") == tuple(numbers)


@given(st.text(alphabet="09,- x\u0662", max_size=8).filter(lambda text: set(text) & set("-x\u0662")))
def test_what_are_no_numbers_by_phase(text: str) -> None:
    with pytest.raises(ValueError, match=r"a\.key must list"):
        numbers_by_phase(text, "a.key")


def test_evaluation_by_steps_is_as_frequent_in_every_phase() -> None:
    keys = {
        "local.steps": 1,
        "local.epochs": 0,
        "local.phases": "12:4,24:12",
        "evaluate.every-steps": 6,
        "rounds": 18,
    }
    config = make_config(keys)  # type: ignore[arg-type]
    course = config.local.step_plan()
    evaluated = [r for r in range(1, 19) if config.evaluates(r)]
    assert [course.first_step(r + 1) for r in evaluated] == [6, 12, 20, 24, 36, 48, 60]


def test_every_round_of_old_stays() -> None:
    config = make_config({"evaluate.every": 4, "rounds": 10})
    assert [r for r in range(1, 11) if config.evaluates(r)] == [4, 8, 10]


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [
        (16, list(range(1, 16))),  # of 20 only 15 differ
        (64, [3, 6, 9, 13, 16, 19, 22, 25, 28, 32, 35, 38, 41, 44, 47, 50, 54, 57, 60, 63]),
    ],
)
def test_evaluations_that_divide_the_run_evenly(rounds: int, expected: list[int]) -> None:
    """O-19 of the specification of the studies of Local SGD, whose rounds count from 0."""
    config = make_config({"rounds": rounds, "evaluate.count": 20})
    assert [r - 1 for r in range(1, rounds + 1) if config.evaluates(r)] == expected
    longer = make_config({"rounds": 3072, "evaluate.count": 20})
    assert [r - 1 for r in range(1, 500) if longer.evaluates(r)] == [154, 307, 461]
