"""What a node reports about itself before a run, and the runs in which it refuses to take part."""

from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict

from clients.base import Client
from clients.local.checked_hooks import checked_receives, checked_state_form
from clients.local.incoming import NUM_CLIENTS
from clients.local.outside import check_declared
from clients.local.sampling import check_sampling_and_schedule
from clients.local.sgd_only import require_plain_sgd
from clients.local.worker import NODE_PARTITION
from clients.node.client import make_client, meet
from clients.node.state_checks import keeps_state
from common.errors import UserError
from common.records import CONFIG, METRICS, config_record
from common.returned import call_for_effect, check_flag, check_names
from common.versions import own_versions
from datasets.digests import form_digests, sample_digests


def run_describe(message: Message, context: Context) -> RecordDict:
    """Return which client this node is, and what data it holds."""
    client = make_client(context)
    _check_number(client, message)
    if client.NEEDS_CLASSES and client.worker.dataset.is_regression:
        raise UserError(
            f"method.name '{client.worker.config.method.name}' needs classes, and the targets of dataset"
            f" '{client.worker.dataset.name}' are numbers: use another method"
        )
    if client.NEEDS_ONE_LABEL and client.worker.dataset.target_shape:
        raise UserError(
            f"method.name '{client.worker.config.method.name}' needs one label per sample, and dataset"
            f" '{client.worker.dataset.name}' has one per position: use another method, or other data"
        )
    check_names(
        client.personal_names(),
        client.worker.model_state,
        f"what {type(client).__name__}.personal_names returns",
    )
    if client.is_from_outside:
        checked_state_form(client)
        checked_receives(client)
        check_declared(client)
    call_for_effect(client.validate)
    if check_flag(client.assumes_sgd(), f"what {type(client).__name__}.assumes_sgd returns"):
        require_plain_sgd(client.worker.config.optimizer, client.worker.config.method.name)
    check_sampling_and_schedule(client)
    loss = client.worker.config.loss.name
    if loss != "cross-entropy" and client.overrides("loss"):
        name = client.worker.config.method.name
        raise UserError(f"method.name '{name}' has a loss of its own: loss.name must be 'cross-entropy'")
    has_state = keeps_state(client)
    description = MetricRecord(
        {
            "client-id": client.client_id,
            "keeps-state": int(has_state),
            "is-personalised": int(client.is_personalised()),
            "num-examples": client.num_examples,
        }
    )
    if client.worker.config.clients.report_labels:
        description["label-counts"] = client.label_counts().tolist()
    if has_state:
        meet(context)
    texts = ConfigRecord(
        {
            "personal-names": sorted(client.personal_names()),
            "versions": own_versions(),
            "device": client.worker.device.type,
            "data": _digests(client),
        }
    )
    return RecordDict({METRICS: description, CONFIG: texts})


def _digests(client: Client) -> list[str]:
    """Return digests of the form of the data, and of the samples if the server deals them."""
    dataset = client.worker.dataset
    if client.worker.config.partition.name == NODE_PARTITION:
        return form_digests(dataset)
    return form_digests(dataset) + sample_digests(dataset, client.worker.client_indices(client.client_id))


def _check_number(client: Client, message: Message) -> None:
    """Refuse a run with another number of clients than the server knows, as the partition would differ."""
    asked = int(config_record(message.content).get(NUM_CLIENTS, 0))  # type: ignore[arg-type]
    count = client.worker.config.clients.count
    if asked and asked != count:
        raise UserError(
            f"the node with partition-id {client.client_id} is one of num-partitions = {count}, but"
            f" {asked} nodes are there: start all before the run, with their number, or set clients.count"
        )
