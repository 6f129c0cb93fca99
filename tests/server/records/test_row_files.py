import csv
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.records.row_files import CsvLog, RowFiles, RowState, check_rows


class TestCsvLog:
    COLUMNS = ("round", "loss", "note")

    def test_rows_are_in_the_file_at_once(self, tmp_path: Path) -> None:
        path = tmp_path / "x.csv"
        log = CsvLog(path, self.COLUMNS)
        assert path.read_text() == "round,loss,note\n"
        log.append({"round": 1, "loss": 0.123456789, "without_value": None})
        log.append({"round": 2, "loss": None, "note": 'a,"b"'})
        assert path.read_text() == 'round,loss,note\n1,0.123457,\n2,,"a,""b"""\n'
        with path.open() as file:
            assert list(csv.reader(file))[2] == ["2", "", 'a,"b"']
        log.close()

    def test_a_new_key_is_a_new_column_at_the_end(self, tmp_path: Path) -> None:
        path = tmp_path / "x.csv"
        log = CsvLog(path, self.COLUMNS)
        log.append({"round": 1, "note": "a,b"})
        first = log.commit()
        log.append({"round": 2, "epsilon": 0.5})
        log.append({"epsilon": 0.75, "round": 3, "clip_norm": 1.0})
        log.append({"round": 4})
        rows = ["round,loss,note,epsilon,clip_norm", '1,,"a,b",,', "2,,,0.5,", "3,,,0.75,1", "4,,,,"]
        assert path.read_text().splitlines() == rows
        log.close()
        resumed = CsvLog(path, self.COLUMNS)
        assert resumed.num_rows == 4
        resumed.restore(first)
        resumed.append({"round": 2, "clip_norm": 9})
        assert path.read_text().splitlines() == [*rows[:2], "2,,,,9"]
        resumed.restart()
        assert path.read_text() == "round,loss,note\n"
        resumed.close()

    def test_it_is_cut_back_to_a_number_of_rows(self, tmp_path: Path) -> None:
        path = tmp_path / "x.csv"
        log = CsvLog(path, self.COLUMNS)
        log.append({"round": 1})
        assert log.num_rows == 1
        first = log.commit()
        log.append({"round": 2})
        log.append({"round": 3})
        assert log.restore(first) == ""
        log.append({"round": 20})
        assert path.read_text() == "round,loss,note\n1,,\n20,,\n"
        log.close()

    def test_an_existing_file_is_continued(self, tmp_path: Path) -> None:
        path = tmp_path / "x.csv"
        log = CsvLog(path, self.COLUMNS)
        log.append({"round": 1})
        first = log.commit()
        log.close()
        with path.open("a") as file:
            file.write("2,0.")  # a kill in the middle of a row
        resumed = CsvLog(path, self.COLUMNS)
        resumed.restore(first)
        resumed.append({"round": 2})
        assert path.read_text() == "round,loss,note\n1,,\n2,,\n"
        resumed.close()

    def test_restart_leaves_the_header(self, tmp_path: Path) -> None:
        path = tmp_path / "x.csv"
        log = CsvLog(path, self.COLUMNS)
        log.append({"round": 1})
        log.restart()
        assert path.read_text() == "round,loss,note\n"
        log.append({"round": 7})
        assert path.read_text() == "round,loss,note\n7,,\n"
        log.close()


COLUMNS = ("round", "loss")


def grown(directory: Path, *, later: int = 2) -> tuple[dict[str, RowState], str]:
    """Let two files grow, with a checkpoint after three rounds; return what it keeps, and the rows then."""
    files = RowFiles(directory, resume=False)
    metrics, clients = files.open("metrics", COLUMNS), files.open("clients", COLUMNS)
    for number in range(3):
        metrics.append({"round": number, "loss": 0.5 * number})
        clients.append({"round": number})
    states: dict[str, RowState] = json.loads(json.dumps(files.commit()))  # as a manifest has them
    then = (directory / "metrics.csv").read_text()
    for number in range(3, 3 + later):
        metrics.append({"round": number, "epsilon": 1.5})
    files.close()
    return states, then


def rows(directory: Path, name: str) -> list[dict[str, str]]:
    with (directory / f"{name}.csv").open() as file:
        return [{key: value for key, value in row.items() if value} for row in csv.DictReader(file)]


def resumed(directory: Path, states: dict[str, RowState]) -> list[str]:
    files = RowFiles(directory, resume=True)
    files.open("metrics", COLUMNS)
    files.open("clients", COLUMNS)
    remarks = files.restore(states)
    files.close()
    return remarks


def cut(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))


def tear(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def alter(path: Path) -> None:
    path.write_text(path.read_text().replace("0.5", "0.7"))


def swap(path: Path) -> None:
    header, *lines = path.read_text().splitlines(keepends=True)
    path.write_text(header + "".join(reversed(lines)))


def spreadsheet(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b",", b";").replace(b"\n", b"\r\n"))


def rename_column(path: Path) -> None:
    path.write_text(path.read_text().replace("loss", "gain", 1))


def noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)))


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES = (cut, tear, empty, alter, swap, spreadsheet, rename_column, noise, Path.unlink)


class TestRestoring:
    def test_later_rows_and_columns_do_not_hide_that_the_earlier_ones_are_whole(self, tmp_path: Path) -> None:
        states, _ = grown(tmp_path)
        assert len(rows(tmp_path, "metrics")) == 5
        assert resumed(tmp_path, states) == []
        assert rows(tmp_path, "metrics") == [{"round": str(i), "loss": f"{0.5 * i:.6g}"} for i in range(3)]

    @pytest.mark.parametrize("damage", DAMAGES)
    @pytest.mark.parametrize("later", [0, 2])
    def test_lost_or_changed_rows_come_from_their_copy(
        self, tmp_path: Path, damage: Callable[[Path], None], later: int
    ) -> None:
        states, then = grown(tmp_path, later=later)
        damage(tmp_path / "metrics.csv")
        check_rows(tmp_path, states)
        (remark,) = resumed(tmp_path, states)
        assert remark.startswith("metrics.csv ")
        assert remark.endswith(": they were taken from their copy")
        assert (tmp_path / "metrics.csv").read_text() == then
        assert resumed(tmp_path, states) == []

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_a_damaged_copy_is_made_again(self, tmp_path: Path, damage: Callable[[Path], None]) -> None:
        states, then = grown(tmp_path)
        damage(tmp_path / "checkpoints" / "rows-metrics.csv")
        assert resumed(tmp_path, states) == []
        damage(tmp_path / "metrics.csv")
        assert len(resumed(tmp_path, states)) == 1
        assert (tmp_path / "metrics.csv").read_text() == then

    def test_rows_that_neither_has_are_refused(self, tmp_path: Path) -> None:
        states, _ = grown(tmp_path)
        cut(tmp_path / "metrics.csv")
        cut(tmp_path / "checkpoints" / "rows-metrics.csv")
        with pytest.raises(ValueError, match=r"metrics\.csv has 1 of 3 rows, and its copy"):
            check_rows(tmp_path, states)

    def test_an_older_checkpoint_may_still_have_its_rows(self, tmp_path: Path) -> None:
        files = RowFiles(tmp_path, resume=False)
        log = files.open("metrics", COLUMNS)
        states = []
        for number in range(4):
            log.append({"round": number})
            states.append(files.commit())
        files.close()
        for path in (tmp_path / "metrics.csv", tmp_path / "checkpoints" / "rows-metrics.csv"):
            path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]))
        with pytest.raises(ValueError, match="has 2 of 4 rows"):
            check_rows(tmp_path, states[3])
        check_rows(tmp_path, states[1])

    def test_a_file_that_the_checkpoint_does_not_know_begins_again(self, tmp_path: Path) -> None:
        states, _ = grown(tmp_path)
        del states["clients"]
        assert resumed(tmp_path, states) == []
        assert rows(tmp_path, "clients") == []

    def test_a_new_run_does_not_go_on_with_what_another_left(self, tmp_path: Path) -> None:
        grown(tmp_path)
        files = RowFiles(tmp_path, resume=False)
        files.open("metrics", COLUMNS).append({"round": 0})
        states = files.commit()
        assert states["metrics"]["rows"] == 1
        assert (tmp_path / "checkpoints" / "rows-metrics.csv").read_text() == "0\n"
        files.close()

    def test_a_pipe_in_its_place_is_an_error_and_no_hang(self, tmp_path: Path) -> None:
        states, _ = grown(tmp_path)
        for name in ("metrics.csv", "checkpoints/rows-metrics.csv"):
            pipe(tmp_path / name)
        with pytest.raises(ValueError, match="has 0 of 3 rows"):
            check_rows(tmp_path, states)


def test_rows_are_on_disk_before_a_checkpoint_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[str, bytes]] = []

    def fsync(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path.is_file():
            synced.append((path.name, path.read_bytes()))

    files = RowFiles(tmp_path, resume=False)
    log = files.open("metrics", COLUMNS)
    log.append({"round": 1})
    monkeypatch.setattr(os, "fsync", fsync)
    files.commit()
    assert synced == [("metrics.csv", b"round,loss\n1,\n"), ("rows-metrics.csv", b"1\n")]
    files.commit()
    assert len(synced) == 2  # nothing new
    files.close()


@settings(max_examples=60)
@given(
    before=st.lists(st.dictionaries(st.sampled_from("abcd"), st.text(max_size=5), max_size=4), max_size=5),
    after=st.lists(st.dictionaries(st.sampled_from("cdef"), st.text(max_size=5), max_size=4), max_size=3),
    damaged=st.booleans(),
)
def test_whatever_the_rows_they_come_back(
    tmp_path_factory: pytest.TempPathFactory,
    before: list[dict[str, str]],
    after: list[dict[str, str]],
    damaged: bool,
) -> None:
    directory = tmp_path_factory.mktemp("rows")
    files = RowFiles(directory, resume=False)
    log = files.open("metrics", ("a",))
    for row in before:
        log.append(row)
    states = json.loads(json.dumps(files.commit()))
    then = (directory / "metrics.csv").read_bytes()
    for row in after:
        log.append(row)
    files.close()
    if damaged:
        noise(directory / "metrics.csv")
    files = RowFiles(directory, resume=True)
    log = files.open("metrics", ("a",))
    assert bool(files.restore(states)) == damaged
    kept = (directory / "metrics.csv").read_bytes()
    assert len(kept.splitlines()) == len(then.splitlines())
    if damaged or not after:
        assert kept == then
    log.append({"a": "x"})
    assert log.num_rows == len(before) + 1
    files.close()
