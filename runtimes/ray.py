"""A Grid over long-lived Ray actors, each of which takes a fraction of the CPUs and GPUs.

A round's records go into Ray's object store once, whatever the size of the cohort. Client states stay there
too, and move only if another actor trains the client next. Actors run large clients first.

An actor that dies is replaced, and its job runs again on another one: what a job computes depends on the
seed, never on the actor. A job on which several actors have died counts as failed.

With ``resources.gpus-per-client = "auto"`` each GPU has one actor until the first training job, one of the
largest, has been measured.
"""

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flwr.app import Error, Message, MessageType

from common.config import Config
from common.defaults import PROJECT_ROOT
from common.device import resolve_device
from common.errors import WORKER_DIED, UserError
from common.records import METRICS
from runtimes.capacity import Machine, part_of_gpu, workers_that_fit
from runtimes.local_grid import LocalGrid, stacks
from server.interrupt import STOP_SIGNALS
from server.measurer import Candidate, Measures, Share

try:
    import ray
except ImportError as error:
    raise UserError(f"runtime.name 'ray' needs Ray ({error}): pip install 'flwr[simulation]'") from None

from runtimes.ray_cluster import with_absolute_paths
from runtimes.ray_worker import RayWorker

REACH_SECONDS = 10
MAX_DEATHS = 3  # of actors on one job, which may itself be the cause
_PING_SECONDS = 2.0
_DEATHS = (
    ray.exceptions.RayActorError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.NodeDiedError,
)
# Files that are not sent to a cluster's machines.
_NOT_SHIPPED = [".git", ".venv", ".venv-ci", "data", "runs", "tests", "docs", "benchmarks"]


@dataclass(frozen=True)
class _Job:
    """Messages that one actor answers together."""

    messages: Sequence[Message]

    @property
    def nodes(self) -> list[int]:
        return [message.metadata.dst_node_id for message in self.messages]

    @property
    def num_bytes(self) -> int:
        """Size of the largest model in the messages: clients may train parts of it."""
        contents = {id(message.content): message.content for message in self.messages}.values()
        return max(sum(r.count_bytes() for r in each.array_records.values()) for each in contents)


class RayGrid(LocalGrid):
    """Carries messages to Ray actors.

    Parameters
    ----------
    config : Config
        ``resources.*`` sets the resources of an actor, ``runtime.workers`` the number of actors (0: as many
        as fit), ``ray.address`` the cluster; empty starts Ray on this machine.
    actors : list, optional
        Actors of ``make_actors`` that outlive this Grid; by default it makes its own and stops them.
    """

    def __init__(self, config: Config, actors: list[Any] | None = None) -> None:
        super().__init__(config.clients.count)
        self._config = config
        self._started_ray = start_ray(config)
        # One actor on each GPU until a job has been measured.
        self._is_measuring = config.resources.gpus_per_client == "auto" and actors is None
        self._own_actors = self._first_actors() if actors is None else []
        self._actors = self._own_actors if actors is None else actors
        values = with_absolute_paths(config.flat()) if config.ray.address else config.flat()
        self._run = ray.put((values, config.clients.count))
        self._states: dict[int, Any] = {}
        self._sizes: dict[int, float] = {}

    def exchange(self, messages: list[Message]) -> Iterator[Message]:
        """Distribute the messages over the actors and yield the replies as they arrive.

        The grouping of messages into stacks depends on their order only: the bits do not depend on actors.
        """
        jobs = [_Job(some) for some in stacks(messages, self.stack)]
        contents: dict[int, Any] = {}
        for message in messages:
            if id(message.content) not in contents:
                contents[id(message.content)] = ray.put(message.content)
        return self._replies(jobs, contents)

    def _replies(self, jobs: list[_Job], contents: Mapping[int, Any]) -> Iterator[Message]:
        if self._is_measuring and jobs and jobs[0].messages[0].metadata.message_type == MessageType.TRAIN:
            largest = max(jobs, key=lambda job: (job.num_bytes, self._size(job)))
            jobs = [job for job in jobs if job is not largest]
            ray.get(self._actors[0].forget_peak.remote())
            yield from self._spread([largest], contents, self._actors[:1])
            self._settle_gpus()
        yield from self._spread(jobs, contents, self._actors)

    def _spread(
        self, jobs: Iterable[_Job], contents: Mapping[int, Any], actors: Iterable[Any]
    ) -> Iterator[Message]:
        queue, idle = sorted(jobs, key=self._size), list(actors)
        running: dict[Any, tuple[Any, _Job, list[Any]]] = {}
        deaths: Counter[int] = Counter()
        while queue or running:
            while queue and idle:
                job, actor = queue.pop(), idle.pop()
                done, *states = self._submit(
                    actor, job, [contents[id(message.content)] for message in job.messages]
                )
                running[done] = (actor, job, states)
            (done,), _ = ray.wait(list(running), num_returns=1)
            actor, job, states = running.pop(done)
            result = _result(done)
            if not isinstance(result, _DEATHS):
                idle.append(actor)
                yield from self._receive(result, states, job)
                continue
            # A new actor takes a while to start: running ones come first.
            idle = [self._replace(actor), *self._living(idle)]
            deaths[job.nodes[0]] += 1
            if deaths[job.nodes[0]] < MAX_DEATHS:
                queue.append(job)
                self._report(job, result)
            else:
                reason = f"{MAX_DEATHS} Ray workers died one after the other on this job"
                if len(job.messages) > 1:
                    reason += f" of {len(job.messages)} clients at once (runtime.stack)"
                yield from _failures(job, f"{reason}: {result}")

    @property
    def _num_workers(self) -> int:
        return len(self._actors)

    @contextlib.contextmanager
    def _keeping_nothing(self, messages: Sequence[Message]) -> Iterator[None]:
        kept, is_measuring = (self._states, self._sizes), self._is_measuring
        self._states, self._sizes = map(dict, kept)
        self._is_measuring = False
        try:
            yield
        finally:
            (self._states, self._sizes), self._is_measuring = kept, is_measuring

    def measure(self, candidate: Candidate, num_batches: int) -> list[Measures | None]:
        """Distribute the test batches over the idle actors; on GPUs only if each has its own.

        A share that fails is None: the caller then measures all of them itself, and meets the error.
        """
        count = min(num_batches, len(self._actors))
        on_gpu = resolve_device(self._config.device).type != "cpu"
        if count < 2 or (on_gpu and _gpus_of(self._config) < 1):
            return []
        reference = ray.put(candidate)
        jobs = [
            actor.measure.remote([self._run], [reference], Share(index, count))
            for index, actor in enumerate(self._actors[:count])
        ]
        results = [_result(job) for job in jobs]
        for actor, result in zip(self._actors[:count], results, strict=True):
            if isinstance(result, _DEATHS):
                self._replace(actor)
        return [None if isinstance(result, ray.exceptions.RayError) else result for result in results]

    def close(self) -> None:
        """Stop the actors, and Ray if this Grid started it."""
        for actor in self._own_actors:
            ray.kill(actor)
        if self._started_ray:
            ray.shutdown()

    def _replace(self, dead: Any) -> Any:
        """Return a new actor instead of a dead one."""
        ray.kill(dead)  # an actor that is only unreachable would keep its resources
        new = make_actor(self._config)
        self._actors[self._actors.index(dead)] = new
        return new

    def _living(self, idle: list[Any]) -> list[Any]:
        """Return the idle actors that answer or are still starting, with dead ones replaced."""
        pings = {actor.ping.remote(): actor for actor in idle}
        ready, _ = ray.wait(list(pings), num_returns=len(pings), timeout=_PING_SECONDS) if pings else ([], [])
        dead = [pings[ping] for ping in ready if isinstance(_result(ping), _DEATHS)]
        new = [self._replace(actor) for actor in dead]
        return [*new, *(actor for actor in idle if actor not in dead)]

    def _first_actors(self) -> list[Any]:
        if not self._is_measuring:
            return make_actors(self._config)
        if self._config.device == "cpu" or not any(machine.gpus >= 1 for machine in _machines()):
            self._is_measuring = False
            _show("resources.gpus-per-client = 0: there is no GPU, or none is to be used (device)")
            self._config = self._config.with_gpus_per_client(0.0)
            return make_actors(self._config)
        cpus = self._config.resources.cpus_per_client
        fitting, _ = workers_that_fit(_machines(), cpus, 1.0)
        count = min(fitting, self._config.clients.count, self._config.runtime.workers or fitting)
        return make_actors(self._config, count)

    def _settle_gpus(self) -> None:
        """Start as many actors as the measured job permits, instead of one on each GPU."""
        peak, total = self._peak()
        machines, resources, runtime = _machines(), self._config.resources, self._config.runtime
        most, _ = workers_that_fit(machines, resources.cpus_per_client, 0.0)
        most = min(most, self.num_clients, runtime.workers or most)
        part, arithmetic = part_of_gpu(peak, total, sum(int(machine.gpus) for machine in machines), most)
        _show(arithmetic)
        self._config = self._config.with_gpus_per_client(part)
        self._is_measuring = False
        for actor in self._actors:
            ray.kill(actor)
        fitting, _ = workers_that_fit(machines, resources.cpus_per_client, part)
        self._actors[:] = make_actors(self._config, min(most, fitting))

    def _peak(self) -> tuple[int, int]:
        """Return the GPU memory that the measured job used, and the GPU's total, in bytes."""
        found: tuple[int, int] | None = ray.get(self._actors[0].peak.remote())
        if found is None:
            raise UserError(
                "resources.gpus-per-client = 'auto': Ray has GPUs, but torch finds none there: install"
                " a torch for CUDA, or set resources.gpus-per-client to 0"
            )
        return found

    def _size(self, job: _Job) -> float:
        return sum(self._sizes.get(node_id, 0.0) for node_id in job.nodes)

    def _report(self, job: _Job, death: Exception) -> None:
        client_ids = ", ".join(str(self.client_id(node_id)) for node_id in job.nodes)
        reason = str(death).strip().splitlines()[0]
        _show(f"a Ray worker died at a job of client {client_ids}; another one repeats it ({reason})")

    def _submit(self, actor: Any, job: _Job, contents: list[Any]) -> list[Any]:
        states = [self._states.get(node_id) for node_id in job.nodes]
        run = actor.run.options(num_returns=1 + len(states))
        metadata = [message.metadata for message in job.messages]
        references: list[Any] = run.remote([self._run], contents, metadata, states)
        return references

    def _receive(self, done: Any, states: list[Any], job: _Job) -> Iterator[Message]:
        if isinstance(done, ray.exceptions.RayError):
            yield from _failures(job, f"the Ray worker failed: {done}")
            return
        for note in done.notes:
            self.note(note)
        for node_id, reply, state in zip(job.nodes, done.replies, states, strict=True):
            if reply.has_content():
                self._states[node_id] = state
                metrics = reply.content.metric_records.get(METRICS)
                if metrics and "num-examples" in metrics:
                    self._sizes[node_id] = float(metrics["num-examples"])
            yield reply


def _failures(job: _Job, reason: str) -> Iterator[Message]:
    for message in job.messages:
        yield Message(Error(WORKER_DIED, reason), reply_to=message)


def _show(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


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
    _show(f"Ray workers: {count}, since {fitting} fit ({arithmetic}){why}")
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


def _result(reference: Any) -> Any:
    """Return the object behind a ready reference, or the error that prevented it."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        return error


def start_ray(config: Config) -> bool:
    """Start Ray, or connect to ``ray.address``; return False if this process already has.

    Raises
    ------
    UserError
        If there is no cluster at the address.
    """
    if ray.is_initialized():
        return False
    threads = str(config.resources.threads_per_worker)
    path = os.pathsep.join(filter(None, [str(PROJECT_ROOT), os.environ.get("PYTHONPATH")]))
    environment: dict[str, Any] = {"env_vars": {"PYTHONPATH": path, "OMP_NUM_THREADS": threads}}
    if config.ray.address:
        environment = {
            "env_vars": {"OMP_NUM_THREADS": threads},
            "working_dir": str(PROJECT_ROOT),
            "excludes": _NOT_SHIPPED,
        }
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    # Otherwise a head started here keeps the last 100,000 calls for a dashboard, 8 kB a round.
    os.environ.setdefault("RAY_task_events_report_interval_ms", "0")
    _check_reachable(config.ray.address)
    warnings.filterwarnings("ignore", message="Tip: In future versions of Ray")
    try:
        with _keeping_signals():
            ray.init(
                address=config.ray.address or "local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env=environment,
            )
    except (ConnectionError, ValueError) as error:
        raise UserError(f"cannot reach Ray at ray.address = '{config.ray.address}': {error}") from None
    return True


@contextlib.contextmanager
def _keeping_signals() -> Iterator[None]:
    """Keep the signal handlers: Ray's own handler of SIGTERM aborts the process in the middle of a round.

    Its handler during the start exits with the signal's number. If SIGTERM stops a run as Ctrl-C does, it
    does so during the start as well.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        yield
    except SystemExit as error:
        if error.code == signal.SIGTERM and callable(before[signal.SIGTERM]):
            raise KeyboardInterrupt from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_reachable(address: str) -> None:
    """Refuse an address at which nothing listens: Ray itself retries for minutes.

    Raises
    ------
    UserError
        If it names a host and a port, and no connection is made within ``REACH_SECONDS``.
    """
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not address or address in ("auto", "local"):
        return
    try:
        if not separator or not host:
            raise ValueError("write it as host:port, or 'auto' for the cluster of this machine")
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(f"cannot reach Ray at ray.address = '{address}': {error}") from None
