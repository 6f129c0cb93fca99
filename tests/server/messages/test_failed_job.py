from pathlib import Path

import torch
from flwr.app import ConfigRecord, RecordDict

from common.records import to_payload, to_record
from server.messages.failed_job import FailedJob
from tests.common.configs import make_config


def test_a_job_is_read_as_it_was_written(tmp_path: Path) -> None:
    sections = {
        "arrays": {"w": torch.tensor([[1.0, -0.0]]), "n": torch.tensor(7)},
        "control": {"w": torch.arange(6.0).view(2, 3).t()},
    }
    state = {"kept": {"c": torch.tensor([True])}, "empty": {}}
    content = RecordDict({name: to_record(section) for name, section in sections.items()})
    content["config"] = ConfigRecord({"server-round": 3, "lr": 0.5})
    run_config = dict(make_config({"method.mu": 0.1}).flat())
    job = FailedJob.from_message(4, "train", content, state, run_config)
    job.save(tmp_path / "a" / "job")
    read = FailedJob.load(tmp_path / "a" / "job")
    assert (read.client_id, read.job, read.run_config) == (4, "train", run_config)
    assert list(read.state) == ["kept", "empty"]
    assert read.state["kept"]["c"].tolist() == [True]
    again = read.content()
    assert dict(again.config_records["config"]) == {"server-round": 3, "lr": 0.5}
    for name, section in to_payload(again).items():
        for key, value in section.items():
            assert value.dtype == sections[name][key].dtype
            assert torch.equal(value, sections[name][key])
    assert set(again) == {"arrays", "control", "config"}
    assert list(read.sections["arrays"]) == ["w", "n"]
