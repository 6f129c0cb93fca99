"""Makes the parts of an experiment from its configuration; nothing is written or trained."""

import copy

import torch
from flwr.serverapp import Grid

from clients._configuration import check_without_model
from clients.registry import load_method
from common.clock import ClientSpeeds
from common.cohort import cohort_size
from common.config import Config
from common.errors import UserError
from common.plugins import use_folders
from common.returned import call_for_effect
from common.topologies import Topology
from datasets.configured import num_natural_clients, open_dataset
from datasets.partition_scheme import partition_clients
from datasets.transforms import make_normalizer
from models.sizes.population import Population
from server.checkpoints.state_codec import capture_attributes
from server.evaluation import CentralEvaluation, keys_looking_at
from server.measurer import Evaluator
from server.meeting import meet_clients
from server.messages.client_registry import ClientRegistry
from server.messages.waiting import Say
from server.observers._tracker import find_trackers
from server.participation import Participation, weighs_uniformly
from server.parts import Parts
from server.privacy import apply_privacy, check_private_state
from server.sizes import check_sizes, make_population
from strategies._asynchronous import Asynchronous
from strategies._hooks import ServerHooks
from strategies._run_facts import RunFacts
from strategies._virtual_clock import OnVirtualClock
from strategies.fedavg import FedAvg


def make_parts(config: Config, grid: Grid, say: Say = print) -> Parts:
    """Create the parts of an experiment and meet its clients; nothing is written or trained.

    Raises
    ------
    UserError
        If the configuration or the data do not allow the experiment.
    """
    use_folders(config.plugins)
    find_trackers(config)
    strategy = load_method(config.method.name, config.method.parameters).make_strategy()
    ServerHooks.check(strategy, config)  # a user's own may not call it
    call_for_effect(strategy.check, config)
    capture_attributes(strategy)  # state that cannot be checkpointed is refused before any training
    participation = Participation(config)
    _agree_on_weights(strategy, participation, config)
    if participation.scheme.looks_at_labels and not config.clients.report_labels:
        raise UserError(
            f"participation.name '{config.participation.name}' chooses clients by their label counts, which"
            " clients.report-labels = false keeps with them: set it to true, or choose another scheme"
        )
    dataset = open_dataset(config)
    if config.partition.name != "node":
        partition_clients(config, dataset)  # an impossible partition is refused before a client is asked
    evaluation = CentralEvaluation(config, dataset, grid if isinstance(grid, Evaluator) else None)
    has_validation = dataset.validation is not None
    apply_privacy(config, strategy, evaluation.model, participation.scheme, has_validation)
    clients = meet_clients(config, grid, dataset, say)
    check_private_state(config, participation.scheme, clients.keeps_state)
    participation.take_counts(clients.num_examples, clients.label_counts)
    population = make_population(config, evaluation.model)
    check_sizes(config, strategy, evaluation.model, population, clients)
    facts = run_facts(config, evaluation, clients, population)
    ServerHooks.setup(strategy, facts)
    call_for_effect(strategy.setup, facts)
    parts = Parts(config, strategy, participation, dataset, evaluation, clients, population)
    if not parts.has_global_model:
        _check_without_model(config)
    return parts


def _check_without_model(config: Config) -> None:
    """Refuse what goes by the global model's results or changes it, where clients keep the whole model."""
    name = config.method.name
    check_without_model(config)
    for key in keys_looking_at(config, "test", "validation"):
        raise UserError(f"{key} looks at the global model, and clients of '{name}' keep the whole model")


def run_facts(
    config: Config, evaluation: CentralEvaluation, clients: ClientRegistry, population: Population | None
) -> RunFacts:
    """Return what a strategy may know about the run."""
    model = evaluation.model
    trained = (name for name, value in model.named_parameters() if value.requires_grad)
    personal = clients.personal_names
    return RunFacts(
        num_clients=config.clients.count,
        parameter_names=[name for name in trained if name not in personal],
        seed=config.seed,
        cohort_size=cohort_size(config.clients.count, config.clients.fraction),
        label_counts=torch.from_numpy(clients.label_counts) if config.clients.report_labels else None,
        num_examples=torch.from_numpy(clients.num_examples),
        client_ids=clients.client_ids,
        speeds=ClientSpeeds(config),
        model_bytes=sum(value.nbytes for name, value in model.state_dict().items() if name not in personal),
        topology=Topology(config.topology, config.clients.count, config.seed),
        population=population,
        submodels=evaluation.selections,
        make_model=lambda: copy.deepcopy(model).eval(),
        validation_inputs=lambda: _validation_inputs(config, next(model.parameters()).device),
    )


def client_sizes(config: Config) -> list[int]:
    """Return the number of training samples of every client."""
    return list(map(int, partition_clients(config, open_dataset(config)).sizes))


def arrivals_per_round(config: Config) -> int:
    """Return how many clients arrive in a round of an asynchronous method, the mean; 0 for other methods."""
    strategy = load_method(config.method.name, config.method.parameters).make_strategy()
    count = config.clients.count
    if isinstance(strategy, Asynchronous):
        return strategy.arrivals(cohort_size(count, config.clients.fraction))
    if not isinstance(strategy, OnVirtualClock):
        return 0
    strategy.setup(
        RunFacts(
            count,
            (),
            config.seed,
            num_examples=torch.tensor(client_sizes(config)),
            speeds=ClientSpeeds(config),
            topology=Topology(config.topology, count, config.seed),
        )
    )
    sizes = [len(strategy.cohort(number) or ()) for number in range(1, config.rounds + 1)]
    return cohort_size(sum(sizes), 1 / config.rounds)


def clients_per_round(config: Config) -> int:
    """Return how many clients a round has, of cohorts that differ in size the mean, rounded.

    Raises
    ------
    UserError
        If the participation scheme decides that during the run.
    """
    if arrivals := arrivals_per_round(config):
        return arrivals
    participation, fraction = Participation(config), config.clients.fraction
    scheme = participation.scheme
    if scheme.uses_fraction:
        return cohort_size(config.clients.count, fraction)
    if scheme.looks_at_labels or scheme.looks_at_clients or scheme.follows_training:
        raise UserError(
            f"participation.name '{config.participation.name}' decides during the run how many clients a"
            " round has, so that nothing can be given as many gradients: choose another one"
        )
    sizes = [len(participation.cohort(number, fraction)) for number in range(1, config.rounds + 1)]
    return cohort_size(sum(sizes), 1 / config.rounds)


def keeps_natural_clients(config: Config) -> bool:
    """Return whether the run has the data of only some of the data set's natural clients."""
    return num_natural_clients(config) is not None and open_dataset(config).train.clients is not None


def _agree_on_weights(strategy: FedAvg, participation: Participation, config: Config) -> None:
    """Agree with the participation scheme on the weights of replies, before any training."""
    scheme = participation.scheme
    if scheme.corrects and not strategy.weighs_replies:
        raise UserError(
            f"method.name '{config.method.name}' would ignore participation.correction, since it has no"
            " weights for replies: leave the correction out, or choose another method"
        )
    if weighs_uniformly(config):
        strategy.weighting = "uniform"


def _validation_inputs(config: Config, device: torch.device) -> torch.Tensor:
    dataset = open_dataset(config)
    if dataset.validation is None:
        raise UserError(
            f"method.name '{config.method.name}' computes with validation data, which dataset"
            f" '{dataset.name}' does not bring: set dataset.validation-fraction above 0"
        )
    return make_normalizer(dataset, device)(dataset.validation.inputs.to(device))
