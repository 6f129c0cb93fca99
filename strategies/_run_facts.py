"""What a server half may know of the run that it is in."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import torch

from common.clock import ClientSpeeds
from common.topologies import Topology
from models.sizes.population import Population
from models.sizes.submodels import SubModels


@dataclass(frozen=True)
class RunFacts:
    """Facts that are the same in every round of a run, and after a resume.

    Attributes
    ----------
    num_clients : int
        Number K of all clients.
    parameter_names : Collection[str]
        The trainable entries of the model that are sent: what optimisers on the server take steps on.
    buffer_names : Collection[str]
        The buffers of the model that are sent, such as running statistics of BatchNorm.
    seed : int
        Seed of the run.
    cohort_size : int
        Clients of a round, if no scheme chooses otherwise.
    label_counts : Tensor
        int64, (clients, classes): what the clients hold; None if they do not report it.
    num_examples : Tensor
        int64, (clients,): their training samples n_i.
    client_ids : Mapping[int, int]
        node id → client id.
    speeds : ClientSpeeds, optional
        How long jobs of the clients take on the virtual clock.
    model_bytes : int
        Bytes of the entries of the model that are sent.
    topology : Topology, optional
        Whose models a worker receives in decentralised methods.
    population : Population, optional
        The sizes of the clients' models; None if all train the whole model.
    submodels : SubModels, optional
        What each size holds.
    """

    num_clients: int
    parameter_names: Collection[str]
    buffer_names: Collection[str] = ()
    seed: int = 0
    cohort_size: int = 1
    label_counts: torch.Tensor | None = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.int64))
    num_examples: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    client_ids: Mapping[int, int] = field(default_factory=dict)
    speeds: ClientSpeeds | None = None
    model_bytes: int = 0
    topology: Topology | None = None
    population: Population | None = None
    submodels: SubModels | None = None
