"""Checks that nodes have the data that the server takes them to have."""

from collections.abc import Iterable, Iterator

from common.config import Config
from common.errors import UserError
from datasets.dataset import Dataset
from datasets.digests import FORM, SAMPLES, form_digests, sample_digests
from datasets.partition_scheme import partition_clients
from server.messages.description import Description, shown_ids

_FORM_ADVICE = (
    "name all classes in dataset.classes, in one order, or give every node data with the same ones",
    "give every node data of the same form, such as tables with the same columns in the same order and the"
    " same categories (dataset.drop), images of one size (dataset.image-size), or one dataset.words-file",
)
_ONE_LOAD = (
    "'load' is called in every process and must return the same in all, whatever the time, the process and"
    " the system's random numbers are"
)
_SAME_DATA = (
    "give every node the server's data set (--data-root), or set partition.name = 'node' for nodes that have"
    " data of their own"
)


class SameData:
    """Compares the digests that nodes report with those of the server's own data.

    Parameters
    ----------
    config : Config
        The run's configuration.
    dataset : Dataset
        The server's data set.
    """

    def __init__(self, config: Config, dataset: Dataset) -> None:
        self._form = form_digests(dataset)
        self._dataset = dataset
        self._partition = None if config.partition.name == "node" else partition_clients(config, dataset)

    def check(self, found: Iterable[Description], same_machine: bool = False) -> Iterator[str]:
        """Yield a remark if nodes have other images than the server, such as those of another decoder.

        Raises
        ------
        UserError
            If a node has other classes, inputs of another form, or other samples than it is to have. On the
            `same_machine`, which has one decoder, other images are an error, too.
        """
        others: list[int] = []
        for node in found:
            for what, advice, own, reported in zip(FORM, _FORM_ADVICE, self._form, node.data, strict=False):
                if own != reported:
                    raise UserError(
                        f"the data of client {node.client_id} and those of the server differ in {what}:"
                        f" {advice}"
                    )
            reported_samples = node.data[len(FORM) :]
            if self._partition is None or not reported_samples:
                continue
            own_samples = sample_digests(self._dataset, self._partition[node.client_id])
            if own_samples[0] != reported_samples[0]:
                raise UserError(
                    f"client {node.client_id} has other {SAMPLES[0]} than the server has for it:"
                    f" {_ONE_LOAD if same_machine else _SAME_DATA}"
                )
            if own_samples != reported_samples:
                if same_machine or self._dataset.kind != "images":
                    raise UserError(
                        f"the {SAMPLES[1]} of client {node.client_id} are not those that the server has for"
                        f" it, although the labels are: {_SAME_DATA if not same_machine else _ONE_LOAD}"
                    )
                others.append(node.client_id)
        if others:
            yield (
                f"client {shown_ids(others)}: the {SAMPLES[1]} are not those of the server, although the"
                " labels are: results differ unless every node has the same files, read in the same way"
            )
