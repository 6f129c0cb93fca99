from flwr.app import ConfigRecord

from clients.base import Client
from clients.local.worker import Worker
from clients.registry import load_method
from common.records import ARRAYS
from tests.conftest import small_config


def test_the_layers_of_a_job_share_one_stream_of_random_numbers() -> None:
    worker = Worker(small_config(model__name="small-cnn"))
    client: Client = load_method("fedavg", {}).client_class(worker, 0)
    client.train(
        {ARRAYS: {k: v.detach().clone() for k, v in worker.model_state.items()}},
        ConfigRecord({"server-round": 1}),
    )
    first, second = worker.dropout_layers
    assert first.generator is not None
    assert first.generator is second.generator
