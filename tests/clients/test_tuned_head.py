"""A head trained on a body that stays as it is."""

import torch
from torch.nn import functional as F

from clients._tuned_head import tuned_head
from clients.base import Client
from clients.local.training_batches import iterate_training_batches
from clients.local.worker import Worker
from models.classifier import as_classifier
from tests.clients.jobs import small


def test_an_epoch_is_sgd_on_the_features(batch_norm_model: str) -> None:
    config = small(
        model__name=batch_norm_model,
        optimizer__learning_rate=0.1,
        optimizer__momentum=0.5,
        optimizer__learning_rate_scaling="linear",
        optimizer__reference_batch_size=32,
        local__batch_size=16,
    )
    worker = Worker(config)
    client = Client(worker, 0)
    before = {name: value.clone() for name, value in worker.model_state.items()}
    classifier = as_classifier(worker.model).classifier
    head = {"weight": classifier.weight.detach() * 3, "bias": classifier.bias.detach() + 1}
    tuned = tuned_head(client, head, 2)

    worker.model.eval()
    weight, bias = (head[name].clone().requires_grad_() for name in ("weight", "bias"))
    optimizer = torch.optim.SGD([weight, bias], lr=0.05, momentum=0.5)
    local = config.local.model_copy(update={"steps": 0, "epochs": 2})
    count = 0
    for batch in iterate_training_batches(client, "personal", local):
        features = as_classifier(worker.model).embed(batch.inputs).detach()
        optimizer.zero_grad()
        F.cross_entropy(features @ weight.T + bias, batch.targets).backward()
        optimizer.step()
        count += 1
    assert count == 2 * -(-client.num_examples // 16)
    torch.testing.assert_close(tuned["weight"], weight.detach())
    torch.testing.assert_close(tuned["bias"], bias.detach())
    assert all(torch.equal(value, before[name]) for name, value in worker.model_state.items())
