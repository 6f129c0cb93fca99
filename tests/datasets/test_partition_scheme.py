"""How the configuration deals samples."""

from pathlib import Path

import torch

from common.plugins import use_folders
from common.sections import Value
from datasets.configured import open_dataset
from datasets.partition_scheme import partition_clients
from tests.conftest import small_config


def test_a_seed_of_its_own_keeps_the_partition_while_the_run_changes() -> None:
    """It is the partition of a run that has that seed, whatever the seed of this one."""
    dataset = open_dataset(small_config(seed=0))

    def dealt(**keys: Value) -> list[list[int]]:
        return [part.tolist() for part in partition_clients(small_config(**keys), dataset)]

    assert dealt(seed=3, partition__seed=7) == dealt(seed=4, partition__seed=7) == dealt(seed=7)
    assert dealt(seed=3) != dealt(seed=7)


def test_a_validation_seed_keeps_the_held_out_samples_while_the_run_changes() -> None:
    def held_out(**keys: Value) -> torch.Tensor:
        validation = open_dataset(small_config(dataset__validation_fraction=0.1, **keys)).validation
        assert validation is not None
        return validation.inputs

    expected = held_out(seed=42)
    for seed in (0, 1):
        assert torch.equal(held_out(seed=seed, dataset__validation_seed=42), expected)
        assert not torch.equal(held_out(seed=seed), expected)


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
