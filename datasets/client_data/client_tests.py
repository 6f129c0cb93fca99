"""The clients' test sets and the head, middle and tail classes that the configuration asks for."""

import functools

import numpy as np

from common.config import Config
from common.errors import UserError
from common.randomness import numpy_generator
from datasets.client_data.class_groups import IndexArray, count_groups, cumulative_groups
from datasets.client_data.local_tests import (
    LocalTests,
    draw_local_tests,
    keyed_draw,
    legacy_draw,
    nominal_test_counts,
)
from datasets.dataset import Dataset
from datasets.partition_report import label_counts
from datasets.partition_scheme import PartitionScheme, partition_clients
from datasets.partitions.fed_lt import PUBLISHED_ALPHA, PUBLISHED_SEED, generator_after


@functools.lru_cache(maxsize=1)
def client_label_counts(config: Config, dataset: Dataset) -> IndexArray:
    """Return how many training samples of each class each client holds: int64, (clients, classes)."""
    return label_counts(
        dataset.train.targets.numpy(), partition_clients(config, dataset), dataset.num_classes
    )


@functools.lru_cache(maxsize=1)
def local_tests(config: Config, dataset: Dataset) -> LocalTests:
    """Return the clients' test sets by training distribution (``clients.test-data``).

    With ``partition.name = "fed-lt"`` they are drawn from the stream of the partition, as in the authors'
    code; otherwise from a generator per client.
    """
    if config.partition.name == "fed-lt":
        scheme = PartitionScheme.of(config)
        parameters = scheme.arguments()
        legacy = generator_after(
            dataset.train.targets.numpy(),
            config.clients.count,
            scheme.generator(),
            float(parameters.get("alpha", PUBLISHED_ALPHA)),
            int(parameters.get("legacy-seed", PUBLISHED_SEED)),
        )
        draw = legacy_draw(legacy)
    else:
        clients = range(config.clients.count)
        draw = keyed_draw([numpy_generator(config.seed, "local-test", client) for client in clients])
    return draw_local_tests(client_label_counts(config, dataset), dataset.test.targets.numpy(), draw)


@functools.lru_cache(maxsize=1)
def _test_counts(config: Config, dataset: Dataset) -> IndexArray:
    """Return the nominal label counts of the clients' tests by training distribution, (clients, classes)."""
    return nominal_test_counts(client_label_counts(config, dataset), len(dataset.test))


def global_class_groups(config: Config, dataset: Dataset) -> IndexArray | None:
    """Return the group of each class: head (0), middle (1) or tail (2); None if no groups are reported.

    The cumulative rule counts the samples of all clients' test sets by training distribution together, as
    the authors' code does; the rule of counts, and nodes with local data, count training samples.
    """
    if config.class_groups == "none":
        return None
    trained = np.bincount(dataset.train.targets.numpy(), minlength=dataset.num_classes)
    if config.class_groups == "counts":
        return count_groups(trained)
    if config.partition.name == "node":
        return cumulative_groups(trained)
    return cumulative_groups(_test_counts(config, dataset).sum(axis=0))


def client_class_groups(config: Config, dataset: Dataset, client_id: int) -> IndexArray | None:
    """Return the class groups of a client, from its own test set by training distribution.

    With the rule of counts, and on nodes with local data, they follow the training set at hand.
    """
    if config.class_groups != "cumulative" or config.partition.name == "node":
        return global_class_groups(config, dataset)
    return cumulative_groups(_test_counts(config, dataset)[client_id])


def check_reports(config: Config, dataset: Dataset) -> None:
    """Check that the reports asked for are possible with these data.

    Some need one label per sample, and clients whose data the server knows.

    Raises
    ------
    UserError
        If ``clients.test-data`` or ``evaluate.groups`` does not go with the data or the partition.
    """
    no_classes = bool(dataset.target_shape) or dataset.is_regression
    if dataset.is_regression and config.stop.is_on and config.stop.metric.endswith("accuracy"):
        raise UserError(
            f"stop.metric '{config.stop.metric}' is for classes, and dataset {dataset.name!r} has numbers:"
            " set it to 'test_loss'"
        )
    one_label_each = not no_classes and dataset.test.clients is None
    for key, is_set in (
        ("analysis.feature-rounds", bool(config.analysis.feature_rounds)),
        ("analysis.sharpness-images", config.analysis.sharpness_images > 0),
        ("model.outputs", bool(config.model.parameters.get("outputs"))),
    ):
        if dataset.is_regression and is_set:
            raise UserError(f"{key} is for classes, and dataset {dataset.name!r} has numbers: leave it out")
    if config.class_groups != "none" and not one_label_each:
        raise UserError(
            f"evaluate.groups '{config.evaluate.groups}' is for data with one label per sample and a test set"
            f" for all clients, which {dataset.name!r} is not: set it to 'none'"
        )
    if config.clients.test_data == "training-distribution":
        if not one_label_each:
            raise UserError(
                "clients.test-data 'training-distribution' is for data with one label per sample and a test"
                f" set for all clients, which {dataset.name!r} is not: set it to 'class-weighted'"
            )
        if config.partition.name == "node":
            raise UserError(
                "clients.test-data 'training-distribution' compares all clients' data, and with partition"
                " 'node' each has its own: set it to 'class-weighted'"
            )
