"""``--resume`` where there is nothing to resume, and what the end of a run says of resuming."""

import shutil
from pathlib import Path

import pytest

from runtimes import launch
from runtimes.run import how_to_resume
from server.observers import Round
from server.round_loop import RoundLoop
from tests.system.test_command_line import call

pytestmark = pytest.mark.usefixtures("no_pictures")


class TestResumeOfNothing:
    @pytest.mark.parametrize("folder", ["none/of/these", ""])
    def test_starts_a_run_and_says_so(
        self, folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "slurm-17.out").write_text("kept")
        assert call("--resume", "--run-dir", str(tmp_path / folder)) == 0
        assert f"nothing was committed in {tmp_path / folder}: the run starts" in capsys.readouterr().out
        assert (tmp_path / folder / "summary.json").exists()
        assert (tmp_path / "slurm-17.out").read_text() == "kept"

    def test_needs_a_directory(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert call("--resume") == 2
        assert "--resume needs --run-dir" in capsys.readouterr().err

    @pytest.mark.parametrize("lost", [["checkpoints"], ["config.toml", "checkpoints"]])
    @pytest.mark.parametrize("is_finished", [True, False])
    def test_destroys_nothing(
        self, lost: list[str], is_finished: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert call("--run-dir", str(tmp_path)) == 0
        for name in (*lost, *([] if is_finished else ["summary.json", "model.safetensors"])):
            path = tmp_path / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and p.name != "log.txt"}
        for arguments in (["--resume"], []):
            assert call("--run-dir", str(tmp_path), *arguments) == 2
            assert "--run-dir" in capsys.readouterr().err
        assert {p: p.read_bytes() for p in before} == before


class TestWhatWasCommitted:
    """A message about an end from outside says whether there is something to resume."""

    def interrupted(self, monkeypatch: pytest.MonkeyPatch, at_round: int) -> None:
        train = RoundLoop._train

        def stop(loop: RoundLoop, current: Round) -> None:
            if current.number == at_round:
                raise KeyboardInterrupt
            train(loop, current)

        monkeypatch.setattr(RoundLoop, "_train", stop)

    def test_of_a_directory_that_was_moved(self, tmp_path: Path) -> None:
        assert "is not there any more; if it was moved" in how_to_resume(tmp_path / "gone")

    @pytest.mark.parametrize(
        ("at_round", "message"), [(3, "what was committed is kept: resume"), (1, "nothing was committed yet")]
    )
    def test_ctrl_c(
        self,
        at_round: int,
        message: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self.interrupted(monkeypatch, at_round)
        assert call("--run-dir", str(tmp_path / "run")) == 130
        error = capsys.readouterr().err.splitlines()[-1]
        assert message in error
        assert f"--run-dir {tmp_path / 'run'} --resume" in error

    def test_before_anything_began(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def stop(options: object) -> int:
            raise KeyboardInterrupt

        monkeypatch.setattr(launch, "launch", stop)
        assert call("--run-dir", str(tmp_path)) == 130
        assert capsys.readouterr().err == "stopped\n"
