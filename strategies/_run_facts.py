"""What a server half may know about its run."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

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
        Total number of clients K.
    parameter_names : Collection[str]
        The trainable entries of the model that are sent, on which server optimisers take steps.
    seed : int
        Seed of the run.
    cohort_size : int
        Clients per round, unless the participation scheme decides otherwise.
    label_counts : Tensor
        int64, (clients, classes): the clients' label counts; None if they do not report them.
    num_examples : Tensor
        int64, (clients,): their training samples n_i.
    client_ids : Mapping[int, int]
        node id → client id.
    speeds : ClientSpeeds, optional
        How long the clients' jobs take on the virtual clock.
    model_bytes : int
        Bytes of the entries of the model that are sent.
    topology : Topology, optional
        The communication graph of decentralised methods.
    population : Population, optional
        The sizes of the clients' models; None if all train the whole model.
    submodels : SubModels, optional
        The entries that each size holds.
    make_model : callable
        Returns a new copy of the run's whole model, in evaluation mode, for strategies that compute with it;
        its weights mean nothing.
    validation_inputs : callable
        Returns what that model takes, (samples, ...): the inputs of the validation data, which no client
        trains on, without their targets and on the model's device. An error if there are none.
    """

    num_clients: int
    parameter_names: Collection[str]
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
    make_model: Callable[[], nn.Module] = nn.Identity
    validation_inputs: Callable[[], torch.Tensor] = lambda: torch.zeros(0)
