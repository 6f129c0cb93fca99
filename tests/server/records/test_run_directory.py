import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from common.config_values import parse_toml
from common.device import hardware
from common.errors import UserError
from server.checkpoints.stored_config import stored_config
from server.records.run_directory import (
    CLIENTS_COLUMNS,
    METRICS_COLUMNS,
    RunDirectory,
    default_run_directory,
    lock_directory,
    model_sha256,
    peak_rss_mb,
)
from tests.common.configs import make_config
from tests.strategies.messages import record


class TestRunDirectory:
    def test_the_documented_columns_come_first(self) -> None:
        documented = "round,train_loss,test_loss,test_accuracy,clients,failures,seconds,bytes_down,bytes_up"
        assert ",".join(METRICS_COLUMNS).startswith(f"{documented},")
        assert CLIENTS_COLUMNS[0] == "round"

    def test_config_toml_is_the_whole_configuration(self, tmp_path: Path) -> None:
        config = make_config({"dataset.root": 'odd "path" 😀\\', "method.name": "fedprox", "method.mu": 0.25})
        run = RunDirectory(tmp_path / "a" / "run", config, resume=False)
        run.close()
        path = run.path / "config.toml"
        stored = stored_config(parse_toml(path.read_text("utf-8"), str(path)))
        assert stored == config

    def test_config_toml_has_the_parameters_of_what_is_named_and_no_others(self, tmp_path: Path) -> None:
        config = make_config({"method.name": "fednova", "method.mu": 0.25, "partition.name": "iid"})
        run = RunDirectory(tmp_path / "run", config, resume=False)
        run.write_summary({})
        run.close()
        lines = (run.path / "config.toml").read_text("utf-8").splitlines()
        assert {"method.mu = 0.25", "# method.server-momentum = 0.0", "# partition.stratified = true"} <= set(
            lines
        )
        assert not any("partition.alpha" in line or "participation.gamma" in line for line in lines)
        summary = json.loads((run.path / "summary.json").read_text("utf-8"))
        assert summary["config"] == parse_toml("\n".join(lines), "config.toml")
        assert summary["defaults"]["method.server-momentum"] == 0.0
        assert "method.mu" not in summary["defaults"]

    def test_a_directory_that_holds_a_run_is_refused(self, tmp_path: Path) -> None:
        config = make_config()
        run = RunDirectory(tmp_path, config, resume=False)
        run.metrics.append({"round": 1})
        run.close()
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        with pytest.raises(UserError, match="already holds a run"):
            RunDirectory(tmp_path, make_config({"seed": 1}), resume=False)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

    def test_resuming_keeps_rows_and_cuts_both_files_back(self, tmp_path: Path) -> None:
        run = RunDirectory(tmp_path, make_config(), resume=False)
        run.metrics.append({"round": 1})
        run.clients.append({"round": 1, "client_id": 4})
        rows = run.commit_rows()
        run.metrics.append({"round": 2})
        run.clients.append({"round": 2, "client_id": 5})
        run.close()
        resumed = RunDirectory(tmp_path, make_config({"rounds": 50}), resume=True)
        assert resumed.metrics.num_rows > rows["metrics"]["rows"]
        assert resumed.restore_rows(rows) == []
        resumed.close()
        for name in ("metrics", "clients"):
            rows = (tmp_path / f"{name}.csv").read_text().splitlines()
            assert [row.split(",")[0] for row in rows] == ["round", "1"]
        assert "rounds = 50\n" in (tmp_path / "config.toml").read_text()

    def test_restart_empties_both_files(self, tmp_path: Path) -> None:
        run = RunDirectory(tmp_path, make_config(), resume=False)
        run.metrics.append({"round": 1})
        run.clients.append({"round": 1})
        run.restart()
        run.close()
        assert (tmp_path / "metrics.csv").read_text() == ",".join(METRICS_COLUMNS) + "\n"
        assert (tmp_path / "clients.csv").read_text() == ",".join(CLIENTS_COLUMNS) + "\n"

    def test_model_and_summary(self, tmp_path: Path) -> None:
        run = RunDirectory(tmp_path, make_config({"seed": 9}), resume=False)
        arrays = record({"w": [1.0, 2.0], "n": torch.tensor(3)})
        digest = run.write_model(arrays)
        run.write_summary({"rounds": 3, "model_sha256": digest})
        run.close()
        loaded = load_file(tmp_path / "model.safetensors")
        assert loaded["w"].tolist() == [1.0, 2.0]
        assert loaded["n"].dtype == torch.int64
        summary = json.loads((tmp_path / "summary.json").read_text())
        assert summary["rounds"] == 3
        assert summary["model_sha256"] == model_sha256(arrays)
        assert summary["config"]["seed"] == 9
        assert {"python", "torch", "flwr", "numpy"} <= set(summary["versions"])
        assert summary["hardware"] == hardware("auto")

    def test_the_default_is_a_new_directory_each_time(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("time.strftime", lambda *arguments: "now")
        config = make_config({"method.name": "flwr:FedAdam"})
        names = []
        for _ in range(3):
            path = default_run_directory(config)
            path.mkdir(parents=True)
            names.append(str(path))
        assert names == [
            "runs/flwr-fedadam-digits-now",
            "runs/flwr-fedadam-digits-now-2",
            "runs/flwr-fedadam-digits-now-3",
        ]


class TestModelHash:
    MODEL = record({"b": [1.0, 2.0], "a": torch.tensor(3)})

    def test_it_is_what_the_documentation_says(self) -> None:
        expected = hashlib.sha256()
        expected.update(b"a|<i8|[]|" + np.array(3).tobytes())
        expected.update(b"b|<f4|[2]|" + np.array([1.0, 2.0], np.float32).tobytes())
        assert model_sha256(self.MODEL) == expected.hexdigest()

    def test_the_order_of_the_names_does_not_count(self) -> None:
        assert model_sha256(record({"a": torch.tensor(3), "b": [1.0, 2.0]})) == model_sha256(self.MODEL)

    @pytest.mark.parametrize(
        "model",
        [
            {"b": [1.0, 2.0], "c": torch.tensor(3)},
            {"b": [1.0, 2.0], "a": torch.tensor([3])},
            {"b": [1.0, 2.0], "a": torch.tensor(3, dtype=torch.int32)},
            {"b": [[1.0, 2.0]], "a": torch.tensor(3)},
            {"b": [2.0, 1.0], "a": torch.tensor(3)},
            {"b": [1.0, np.nextafter(np.float32(2), np.float32(3)).item()], "a": torch.tensor(3)},
            {"b": [1.0, 2.0]},
        ],
    )
    def test_names_dtypes_shapes_and_every_bit_count(self, model: dict[str, list[float]]) -> None:
        assert model_sha256(record(model)) != model_sha256(self.MODEL)

    def test_memory_layout_does_not_count(self) -> None:
        tensor = torch.arange(24.0).view(1, 2, 3, 4)
        channels_last = tensor.contiguous(memory_format=torch.channels_last)
        assert model_sha256(record({"w": channels_last})) == model_sha256(record({"w": tensor}))


def test_memory_is_in_megabytes() -> None:
    assert 50 < peak_rss_mb() < 100_000


def test_one_process_at_a_time(tmp_path: Path) -> None:
    first = lock_directory(tmp_path)
    with pytest.raises(UserError, match="another process runs in"):
        lock_directory(tmp_path)
    first.close()
    lock_directory(tmp_path).close()
