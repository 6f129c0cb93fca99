"""The cohorts of a file."""

from pathlib import Path

import pytest

from common.errors import UserError
from common.sections import Value
from server.participation import Participation
from server.participation.schedule import read_schedule
from tests.common.configs import make_config
from tests.server.participation.schemes import participation


class TestSchedule:
    CSV = "round,client_id,num_examples,loss\n2,7,30,0.5\n1,4,30,0.1\n2,0,30,1.5\n1,7,3,2\n"

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("clients.csv", CSV),
            ("cohorts.json", '{"2": [7, 0], "1": [4, 7]}'),
            ("cohorts.json", "[[7, 4], [0, 7]]"),
        ],
    )
    def test_files(self, name: str, text: str, tmp_path: Path) -> None:
        (tmp_path / name).write_text(text)
        assert read_schedule(tmp_path / name) == {1: [4, 7], 2: [0, 7]}

    def cohorts(self, path: Path, **layer: Value) -> Participation:
        return Participation(
            make_config(
                {
                    "participation.name": "schedule",
                    "participation.file": str(path),
                    "clients.count": 8,
                    "rounds": 2,
                },
                layer,
            )
        )

    def test_the_cohorts_are_the_files(self, tmp_path: Path) -> None:
        path = tmp_path / "clients.csv"
        path.write_text(self.CSV)
        scheme = self.cohorts(path)
        assert [scheme.cohort(server_round, 0.5) for server_round in (1, 2)] == [[4, 7], [0, 7]]
        assert len(scheme.cohort(1, 0.5, "evaluation")) == 4

    @pytest.mark.parametrize(
        ("name", "text", "complaint"),
        [
            ("a.csv", CSV.replace("round", "runde"), "is not a schedule"),
            ("a.csv", CSV.replace("7", "seven"), "is not a schedule"),
            ("a.csv", "", r"is not a schedule \(it has no column round\)"),
            ("a.csv", "round,client_id\n", "no cohort for round 1"),
            ("a.csv", "round,client_id\n1\n", "'' is not a client id"),
            ("a.csv", "round,client_id\n1,1_0\n", "'1_0' is not a client id"),
            ("a.csv", "round,client_id\n1,9999999999999999999\n", "'9999999999999999999' is not a client id"),
            ("a.json", "{", "is not valid JSON"),
            ("a.json", "3", r"is not a schedule \(it is neither a list nor an object\)"),
            ("a.json", '{"1": 3}', "the cohort of round 1 is 3, not a list"),
            ("a.json", '{"1": [0], "1": [1]}', "'1' stands in one object twice"),
            ("a.json", '{"one": [0]}', "'one' is not a round"),
            ("a.json", "[[1.5], [2]]", "1.5 is not a client id"),
            ("a.json", "[[1], [true]]", "True is not a client id"),
            ("a.json", "[[1]]", "no cohort for round 2; lower rounds"),
            ("a.json", "[[1], []]", "no cohort for round 2"),
            ("a.json", "[[1, 1], [2]]", "names a client twice in round 1"),
            ("a.json", "[[1], [8]]", "calls client 8 in round 2, but clients.count is 8"),
            ("a.json", "[[1], [-1]]", "calls client -1 in round 2"),
        ],
    )
    def test_what_is_wrong_is_one_line(self, name: str, text: str, complaint: str, tmp_path: Path) -> None:
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=complaint) as raised:
            self.cohorts(tmp_path / name)
        assert "\n" not in str(raised.value)

    def test_a_file_is_needed(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"needs participation\.file"):
            participation("schedule")
        with pytest.raises(UserError, match="cannot read"):
            self.cohorts(tmp_path / "missing.csv")
