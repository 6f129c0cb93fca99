"""CReFF's client half (Shang et al., IJCAI 2022, Algorithm 1): class gradients at the re-trained head.

arXiv:2204.13399.
"""

import torch

from clients._class_gradients import class_gradients
from clients.base import Client
from clients.local.full_batch import labels_trained_on
from clients.local.incoming import Section
from common.records import ARRAYS, Payload, Tensors
from models.classifier import as_classifier
from models.heads.realignment import head_entries
from models.measures.evaluation import logits_of


class CReFF(Client):
    """FedAvg's training, plus the gradients from which the server makes federated features.

    The received model has the re-trained head. Each class's mean gradient over the client's data is taken at
    that head, in evaluation mode and without augmentation. Training then starts from the averaged head.
    """

    NEEDS_CLASSES = True
    NEEDS_ONE_LABEL = True

    def validate(self) -> None:
        """Refuse models without a head."""
        as_classifier(self.worker.model)

    def receives(self) -> dict[str, Section]:
        """Return the form of the averaged head."""
        return {"averaged-head": Section(head_entries(self.worker.model_state))}

    def begin_round(self) -> None:
        """Take the gradients, then load the averaged head."""
        worker = self.worker
        model = as_classifier(worker.model)
        samples = torch.from_numpy(self.indices).to(worker.device)
        inputs = worker.train.inputs.index_select(0, samples)
        targets = labels_trained_on(self)(worker.train.targets[samples])
        normalizer = self.normalizer("measurement", self.server_round)
        features = logits_of(model, inputs, normalizer, worker.config.evaluate.batch_size, model.embed)
        self.gradients = class_gradients(features, targets, model.classifier)
        self.held = (torch.bincount(targets, minlength=len(self.gradients)) > 0).float()
        head = self.received["averaged-head"]
        worker.load(head)
        self.received = {**self.received, ARRAYS: {**self.received[ARRAYS], **head}}  # what steps start from

    def end_round(self, params: Tensors) -> Payload:
        """Send the gradients and their classes."""
        return {"class-gradients": {"weight": self.gradients, "held": self.held}}
