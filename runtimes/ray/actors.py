"""The actors of a Grid, each of which takes a fraction of the CPUs and GPUs."""

import sys
from collections.abc import Iterable
from typing import Any

import ray

from common.config import Config
from common.device import resolve_device
from common.errors import UserError
from runtimes.capacity import Machine, part_of_gpu, workers_that_fit
from runtimes.ray.worker import RayWorker

DEATHS = (
    ray.exceptions.RayActorError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.NodeDiedError,
)
_PING_SECONDS = 2.0


class Actors:
    """As many actors as fit; dead ones are replaced.

    With ``resources.gpus-per-client = "auto"`` each GPU has one actor until `settle_gpus`, after the first
    training job.

    Parameters
    ----------
    config : Config
        ``resources.*`` sets the resources of an actor, ``runtime.workers`` their number (0: as many as fit).
    given : list, optional
        Actors of ``make_actors`` that outlive this; by default it makes its own and stops them.

    Attributes
    ----------
    all : list
        The actors.
    is_measuring : bool
        Whether the GPU memory of a training job is still to be measured.
    """

    def __init__(self, config: Config, given: list[Any] | None = None) -> None:
        self._config = config
        self.is_measuring = config.resources.gpus_per_client == "auto" and given is None
        self._are_own = given is None
        self.all = self._first() if given is None else given

    def close(self) -> None:
        """Stop the actors that are not `given`."""
        for actor in self.all if self._are_own else ():
            ray.kill(actor)

    def replace(self, dead: Any) -> Any:
        """Return a new actor instead of a dead one."""
        ray.kill(dead)  # an actor that is only unreachable would keep its resources
        new = make_actor(self._config)
        self.all[self.all.index(dead)] = new
        return new

    def living(self, idle: Iterable[Any]) -> list[Any]:
        """Return the idle actors that answer or are still starting, with dead ones replaced."""
        pings = {actor.ping.remote(): actor for actor in idle}
        ready, _ = ray.wait(list(pings), num_returns=len(pings), timeout=_PING_SECONDS) if pings else ([], [])
        dead = [pings[ping] for ping in ready if isinstance(result_of(ping), DEATHS)]
        new = [self.replace(actor) for actor in dead]
        return [*new, *(actor for actor in pings.values() if actor not in dead)]

    def share_gpus(self) -> bool:
        """Return whether several actors may compute on one GPU."""
        return resolve_device(self._config.device).type != "cpu" and _gpus_of(self._config) < 1

    def settle_gpus(self) -> None:
        """Start as many actors as the measured job permits, instead of one on each GPU."""
        peak, total = self._peak()
        machines, resources, runtime = _machines(), self._config.resources, self._config.runtime
        most, _ = workers_that_fit(machines, resources.cpus_per_client, 0.0)
        most = min(most, self._config.clients.count, runtime.workers or most)
        part, arithmetic = part_of_gpu(peak, total, sum(int(machine.gpus) for machine in machines), most)
        show(arithmetic)
        self._config = self._config.with_gpus_per_client(part)
        self.is_measuring = False
        for actor in self.all:
            ray.kill(actor)
        fitting, _ = workers_that_fit(machines, resources.cpus_per_client, part)
        self.all[:] = make_actors(self._config, min(most, fitting))

    def _first(self) -> list[Any]:
        if not self.is_measuring:
            return make_actors(self._config)
        if self._config.device == "cpu" or not any(machine.gpus >= 1 for machine in _machines()):
            self.is_measuring = False
            show("resources.gpus-per-client = 0: there is no GPU, or none is to be used (device)")
            self._config = self._config.with_gpus_per_client(0.0)
            return make_actors(self._config)
        cpus = self._config.resources.cpus_per_client
        fitting, _ = workers_that_fit(_machines(), cpus, 1.0)
        count = min(fitting, self._config.clients.count, self._config.runtime.workers or fitting)
        return make_actors(self._config, count)

    def _peak(self) -> tuple[int, int]:
        """Return the GPU memory that the measured job used, and the GPU's total, in bytes."""
        found: tuple[int, int] | None = ray.get(self.all[0].peak.remote())
        if found is None:
            raise UserError(
                "resources.gpus-per-client = 'auto': Ray has GPUs, but torch finds none there: install"
                " a torch for CUDA, or set resources.gpus-per-client to 0"
            )
        return found


def make_actors(config: Config, count: int = 0) -> list[Any]:
    """Start as many actors as ``runtime.workers`` or the resources allow; they serve any run on this Ray.

    Parameters
    ----------
    config : Config
        With ``resources.gpus-per-client = "auto"`` each actor takes a whole GPU.
    count : int
        Number of actors instead of ``runtime.workers``.

    Raises
    ------
    UserError
        If they do not fit: jobs would wait for workers that never start.
    """
    cpus, gpus, wanted = config.resources.cpus_per_client, _gpus_of(config), count or config.runtime.workers
    machines = _machines()
    fitting, arithmetic = workers_that_fit(machines, cpus, gpus)
    if fitting < 1:
        raise UserError(
            f"no Ray worker fits: a client takes {cpus} CPUs and {gpus} GPUs, there are"
            f" {sum(machine.cpus for machine in machines):.0f} and"
            f" {sum(machine.gpus for machine in machines):.0f}; lower resources.cpus-per-client or"
            " resources.gpus-per-client"
        )
    count = min(wanted or fitting, config.clients.count)
    if count > fitting:
        raise UserError(
            f"runtime.workers = {wanted}, but only {fitting} fit: lower it, or resources.cpus-per-client and"
            " resources.gpus-per-client"
        )
    why = "" if count == fitting else f", and {count} are wanted (runtime.workers, clients.count)"
    show(f"Ray workers: {count}, since {fitting} fit ({arithmetic}){why}")
    return [make_actor(config) for _ in range(count)]


def make_actor(config: Config) -> Any:
    """Start one actor, which Ray must not restart: jobs would wait for that, and fail one after the other."""
    cpus, gpus = config.resources.cpus_per_client, _gpus_of(config)
    return ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=0)(RayWorker).remote(gpus)


def _gpus_of(config: Config) -> float:
    """Return the GPUs of an actor: a whole one until its share is known."""
    gpus = config.resources.gpus_per_client
    return 1.0 if gpus == "auto" else gpus


def _machines() -> list[Machine]:
    """Return the resources that Ray may use on each machine of its cluster."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return [Machine(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in nodes]


def result_of(reference: Any) -> Any:
    """Return the object behind a ready reference, or the error that prevented it."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        return error


def show(text: str) -> None:
    """Print a line on how the actors run."""
    print(text, file=sys.stderr, flush=True)
