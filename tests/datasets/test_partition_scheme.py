"""How the configuration deals samples."""

from pathlib import Path

from common.plugins import use_folders
from datasets.configured import open_dataset
from datasets.partition_scheme import partition_clients
from tests.conftest import small_config


def test_a_partition_that_draws_from_a_global_generator_is_the_same_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "partitions").mkdir()
    (tmp_path / "partitions" / "careless.py").write_text(
        "import numpy as np\n"
        "def partition(targets, num_clients, generator):\n"
        "    return np.array_split(np.random.permutation(len(targets)), num_clients)\n"
    )
    config = small_config(plugins=str(tmp_path), partition__name="careless")
    dataset = open_dataset(config)
    try:
        deals = []
        for _ in range(2):
            partition_clients.cache_clear()
            deals.append([part.tolist() for part in partition_clients(config, dataset)])
    finally:
        partition_clients.cache_clear()
        use_folders("")
    assert deals[0] == deals[1]
