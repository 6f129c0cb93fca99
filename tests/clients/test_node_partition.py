"""A SuperNode with data of its own: its folder stands in its node configuration, all of it is its share."""

from pathlib import Path

import numpy as np
from flwr.app import ConfigRecord, Message, RecordDict
from PIL import Image

from clients.app import run_describe
from common.config import Config, merge
from common.flower import assume_task_identity
from common.records import CONFIG, METRICS
from runtimes.sequential import make_context


def write_images(root: Path, counts: dict[str, int]) -> None:
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        for name, count in counts.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(
                    folder / f"{index}.png"
                )


def test_each_node_holds_what_lies_in_its_own_folder(tmp_path: Path) -> None:
    assume_task_identity()
    held = [{"cat": 3, "dog": 1}, {"cat": 2, "dog": 5}]
    config = Config.from_flat(
        merge(
            {
                "dataset.name": "image-folder",
                "partition.name": "node",
                "clients.count": 2,
                "model.name": "linear",
            }
        )
    )
    for client_id, counts in enumerate(held):
        write_images(tmp_path / str(client_id), counts)
        context = make_context(client_id, 2, config.flat(), node_id=client_id + 2)
        context.node_config["data-root"] = str(tmp_path / str(client_id))
        query = RecordDict({CONFIG: ConfigRecord()})
        message = Message(query, dst_node_id=client_id + 2, message_type="query.describe")
        description = run_describe(message, context).metric_records[METRICS]
        assert description["client-id"] == client_id
        assert description["label-counts"] == [counts["cat"], counts["dog"]]
