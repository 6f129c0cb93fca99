"""The parts of an experiment: before its first round, and while it runs."""

from dataclasses import dataclass

from common.config import Config
from datasets.dataset import Dataset
from models.sizes.population import Population
from server.checkpoints.checkpoint import CheckpointStore
from server.evaluation import CentralEvaluation
from server.messages.client_registry import ClientRegistry
from server.messages.messenger import Messenger
from server.participation import Participation
from server.records.progress import ProgressDisplay
from server.records.run_directory import RunDirectory
from strategies.fedavg import FedAvg


@dataclass(frozen=True)
class Parts:
    """The parts of an experiment before anything is written."""

    config: Config
    strategy: FedAvg
    participation: Participation
    dataset: Dataset
    evaluation: CentralEvaluation
    clients: ClientRegistry
    population: Population | None

    @property
    def has_global_model(self) -> bool:
        """Whether the server has any part of a model, or the clients keep all of theirs."""
        return not self.evaluation.model.state_dict().keys() <= set(self.clients.personal_names)


@dataclass(frozen=True)
class Run:
    """An experiment that has a run directory."""

    parts: Parts
    messenger: Messenger
    run_directory: RunDirectory
    checkpoints: CheckpointStore
    progress: ProgressDisplay
