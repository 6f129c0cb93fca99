"""A reader finds the test of a method, and of a file, by its name."""

from pathlib import Path

import pytest

from clients.registry import available_methods
from common.defaults import PROJECT_ROOT

TESTS = PROJECT_ROOT / "tests"

# Folders whose tests are not named after a file: after methods, or after what they do with the whole.
OTHER_FOLDERS = {"methods", "system", "contract", "golden", "experiments", "benchmarks"}

# Methods without a test of their own: name and reason.
ALIASES: dict[str, str] = {}

# Tests that are not named after one file, and why.
REASONS = {
    "analysis/test_damaged_files.py": "every reader of a run directory, with any content",
    "analysis/test_pictures.py": "every picture of one run",
    "clients/local/test_batch_norm_policy.py": "running statistics in local training",
    "clients/local/test_clipping.py": "clipped steps of the training loop and the metric that counts them",
    "clients/local/test_outside_randomness.py": "models with random layers of their own, in every carrier",
    "clients/local/test_isolation.py": "what a job computes, whatever ran before it",
    "clients/test_client_noise.py": "noise of the data on clients and in the central evaluation",
    "clients/test_label_noise.py": "label noise in local training",
    "common/compressions/test_compressions.py": "every compression",
    "common/test_platform.py": "the package itself: systems that it runs on",
    "datasets/images/test_damaged_sources.py": "every reader of images, with any content",
    "datasets/sets/test_csv_and_npz.py": "two data sets that share their table of arrays",
    "datasets/sets/test_leaf_sets.py": "LEAF's data sets, which share their reader",
    "models/measures/test_numbers_and_own.py": "numbers as targets, and metrics of the user's own",
    "models/test_forward.py": "every model",
    "models/test_golden_logits.py": "every model",
    "models/test_initial_weights.py": "every model",
    "models/test_parameter_counts.py": "every model",
    "models/test_registry.py": "models/__init__.py, which finds models by file name",
    "runtimes/describe/test_describe.py": "every answer of --describe, the schema included",
    "runtimes/test_federation_stop.py": "a signal to a whole federation",
    "runtimes/test_sweep_comparators.py": "comparators in whole sweeps and runs",
    "server/checkpoints/test_damaged_checkpoint.py": "every file of a checkpoint, with any content",
    "server/observers/test_observers.py": "the order of all observers, and those from outside",
    "server/observers/test_recording.py": "everything that a run records for the analyses",
    "server/test_damaged_inputs.py": "every file that a key names, with any content",
    "server/test_evaluation_options.py": "options of evaluation in whole runs",
    "server/test_participation_runs.py": "participation schemes in whole runs",
    "server/test_returning_client.py": "nodes that are started again",
    "server/test_stored_partition.py": "the partition in a run directory",
    "test_fake_gpu.py": "tests/fake_gpu.py, on which other tests rely",
}


def elsewhere() -> list[str]:
    """Return the test files that should be named after a file of the project."""
    return sorted(
        path.relative_to(TESTS).as_posix()
        for path in TESTS.rglob("test_*.py")
        if path.relative_to(TESTS).parts[0] not in OTHER_FOLDERS
    )


def names_a_file(test: str) -> bool:
    folder, name = PROJECT_ROOT / Path(test).parent, Path(test).stem.removeprefix("test_")
    return any((folder / candidate).exists() for candidate in (f"{name}.py", f"_{name}.py", name))


@pytest.mark.parametrize("method", available_methods())
def test_every_method_has_its_test(method: str) -> None:
    exists = (TESTS / "methods" / f"test_{method.replace('-', '_')}.py").is_file()
    assert exists != (method in ALIASES)


@pytest.mark.parametrize("test", elsewhere())
def test_a_test_is_named_after_a_file(test: str) -> None:
    assert names_a_file(test) != (test in REASONS)


def test_reasons_are_for_tests_that_exist() -> None:
    assert set(REASONS) <= set(elsewhere())
    assert set(ALIASES) <= set(available_methods())
