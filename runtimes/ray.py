"""A Grid over long-lived Ray actors, each of which takes a fraction of the CPUs and GPUs.

A round's records go into Ray's object store once, whatever the cohort. A client's state stays there as
well and moves only if another actor trains that client next. Actors run large clients first.

An actor that dies is replaced, and its job runs again on another one: what a job computes depends on the
seed, never on the actor. A job on which several actors died has failed.
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
from collections.abc import Iterator, Mapping
from typing import Any

from flwr.app import Error, Message, RecordDict

from common.config import PROJECT_ROOT, Config
from common.device import resolve_device
from common.errors import WORKER_DIED, UserError
from common.flower import Metadata, rebuild_message
from common.records import METRICS
from runtimes.local_grid import LocalGrid
from runtimes.sequential import make_context
from server.interrupt import STOP_SIGNALS
from server.measurer import Candidate, Measurer, Measures, Share, make_measurer

try:
    import ray
except ImportError as error:
    raise UserError(f"runtime.name 'ray' needs Ray ({error}): pip install 'flwr[simulation]'") from None

REACH_SECONDS = 10
MOST_DEATHS = 3  # of actors on one job, which may be what kills them
_PING_SECONDS = 2.0
_DEATHS = (
    ray.exceptions.RayActorError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.NodeDiedError,
)
# What a cluster's machines need not be sent.
_NOT_SHIPPED = [".git", ".venv", ".venv-ci", "data", "runs", "tests", "docs", "benchmarks"]


class _Actor:
    """Runs client jobs in a process of its own; keeps the data and one model (``clients.local.worker``)."""

    def __init__(self, gpus: float) -> None:
        from clients.app import app
        from common.flower import assume_task_identity

        assume_task_identity()
        if 0 < gpus < 1:
            _cap_gpu_memory(gpus)
        self._app = app
        self._fetched: dict[str, tuple[Any, Any]] = {}
        self._measurer: tuple[Any, Measurer] | None = None

    def ping(self) -> int:
        """Return the process id, as a sign of life."""
        return os.getpid()

    def run(
        self, run: list[Any], content: list[Any], metadata: Metadata, state: list[Any]
    ) -> tuple[Message, RecordDict]:
        """Do one job. References arrive in lists, so that Ray does not fetch them again for each job."""
        run_config, num_clients = self._fetch("run", run[0])
        message = rebuild_message(self._fetch("content", content[0]), metadata)
        node_id = metadata.dst_node_id
        context = make_context(LocalGrid.client_id(node_id), num_clients, run_config, node_id)
        if state:
            context.state = ray.get(state[0])
        return self._app(message, context), context.state

    def measure(self, run: list[Any], candidate: list[Any], share: Share) -> Measures | None:
        """Measure a share of the test batches; references as in ``run``."""
        from clients.app import parse_run_config

        run_config, _ = self._fetch("run", run[0])
        if self._measurer is None or self._measurer[0] != run[0]:
            self._measurer = (run[0], make_measurer(parse_run_config(run_config)))
        return self._measurer[1].measure_share(self._fetch("candidate", candidate[0]), share)

    def _fetch(self, what: str, reference: Any) -> Any:
        """Return the object behind a reference, which is kept until another one is asked for."""
        if what not in self._fetched or self._fetched[what][0] != reference:
            self._fetched[what] = (reference, ray.get(reference))
        return self._fetched[what][1]


class RayGrid(LocalGrid):
    """Carries messages to Ray actors.

    Parameters
    ----------
    config : Config
        ``resources.*`` says what an actor takes, ``runtime.workers`` how many there are (0: as many as
        fit), ``ray.address`` which cluster; empty starts Ray on this machine.
    actors : list, optional
        Actors of ``make_actors`` that outlive this Grid; by default it makes its own and stops them.
    """

    def __init__(self, config: Config, actors: list[Any] | None = None) -> None:
        super().__init__(config.clients.count)
        self._config = config
        self._started_ray = start_ray(config)
        self._own_actors = make_actors(config) if actors is None else []
        self._actors = self._own_actors if actors is None else actors
        self._run = ray.put((config.flat(), config.clients.count))
        self._states: dict[int, Any] = {}
        self._sizes: dict[int, float] = {}

    def exchange(self, messages: list[Message]) -> Iterator[Message]:
        """Spread the messages over the actors and yield the replies as they come."""
        contents: dict[int, Any] = {}
        for message in messages:
            if id(message.content) not in contents:
                contents[id(message.content)] = ray.put(message.content)
        return self._replies(messages, contents)

    def _replies(self, messages: list[Message], contents: Mapping[int, Any]) -> Iterator[Message]:
        queue = sorted(messages, key=lambda message: self._sizes.get(message.metadata.dst_node_id, 0.0))
        idle = list(self._actors)
        running: dict[Any, tuple[Any, Message, Any]] = {}
        deaths: Counter[int] = Counter()
        while queue or running:
            while queue and idle:
                message, actor = queue.pop(), idle.pop()
                reply, state = self._submit(actor, message, contents[id(message.content)])
                running[reply] = (actor, message, state)
            (reply,), _ = ray.wait(list(running), num_returns=1)
            actor, message, state = running.pop(reply)
            result = _result(reply)
            if not isinstance(result, _DEATHS):
                idle.append(actor)
                yield self._receive(result, state, message)
                continue
            # A new actor takes a while to start: those that are there come first.
            idle = [self._replace(actor), *self._living(idle)]
            deaths[message.metadata.dst_node_id] += 1
            if deaths[message.metadata.dst_node_id] < MOST_DEATHS:
                queue.append(message)
                self._report(message, result)
            else:
                reason = f"{MOST_DEATHS} Ray workers died one after the other on this job: {result}"
                yield Message(Error(WORKER_DIED, reason), reply_to=message)

    def measure(self, candidate: Candidate, num_batches: int) -> list[Measures | None]:
        """Spread the test batches over the actors, which idle then; on GPUs if each has one of its own.

        A share that fails is None: the caller measures all of them, and sees the error.
        """
        count = min(num_batches, len(self._actors))
        on_gpu = resolve_device(self._config.device).type != "cpu"
        if count < 2 or (on_gpu and self._config.resources.gpus_per_client < 1):
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
        ray.kill(dead)  # one that is only out of reach would keep its resources
        new = make_actor(self._config)
        self._actors[self._actors.index(dead)] = new
        return new

    def _living(self, idle: list[Any]) -> list[Any]:
        """Return idle actors that answer or still start, and new ones instead of those that are dead."""
        pings = {actor.ping.remote(): actor for actor in idle}
        ready, _ = ray.wait(list(pings), num_returns=len(pings), timeout=_PING_SECONDS) if pings else ([], [])
        dead = [pings[ping] for ping in ready if isinstance(_result(ping), _DEATHS)]
        new = [self._replace(actor) for actor in dead]
        return [*new, *(actor for actor in idle if actor not in dead)]

    def _report(self, message: Message, death: Exception) -> None:
        client_id = self.client_id(message.metadata.dst_node_id)
        reason = str(death).strip().splitlines()[0]
        print(
            f"a Ray worker died at a job of client {client_id}, which another one repeats ({reason})",
            file=sys.stderr,
            flush=True,
        )

    def _submit(self, actor: Any, message: Message, content: Any) -> Any:
        state = self._states.get(message.metadata.dst_node_id)
        job = actor.run.options(num_returns=2)
        return job.remote([self._run], [content], message.metadata, [state] if state is not None else [])

    def _receive(self, reply: Any, state: Any, message: Message) -> Message:
        node_id = message.metadata.dst_node_id
        if isinstance(reply, ray.exceptions.RayError):
            return Message(Error(WORKER_DIED, f"the Ray worker failed: {reply}"), reply_to=message)
        assert isinstance(reply, Message)
        if reply.has_content():
            self._states[node_id] = state
            metrics = reply.content.metric_records.get(METRICS)
            if metrics and "num-examples" in metrics:
                self._sizes[node_id] = float(metrics["num-examples"])  # type: ignore[arg-type]
        return reply


def make_actors(config: Config) -> list[Any]:
    """Start as many actors as ``runtime.workers`` or the resources say; they serve any run on this Ray.

    Raises
    ------
    UserError
        If they do not fit: jobs would wait for workers that never start.
    """
    fitting, wanted = _workers_that_fit(config), config.runtime.workers
    count = min(wanted or fitting, config.clients.count)
    if count > fitting:
        raise UserError(
            f"runtime.workers = {wanted}, but only {fitting} fit: lower it, or resources.cpus-per-client and"
            " resources.gpus-per-client"
        )
    return [make_actor(config) for _ in range(count)]


def make_actor(config: Config) -> Any:
    """Start one actor. Ray is not to restart it: jobs would wait for that, and fail in a row."""
    cpus, gpus = config.resources.cpus_per_client, config.resources.gpus_per_client
    return ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=0)(_Actor).remote(gpus)


def _result(reference: Any) -> Any:
    """Return the object behind a reference that is ready, or the error because of which there is none."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        return error


def start_ray(config: Config) -> bool:
    """Start Ray, or connect to ``ray.address``, unless this process has done so; return whether it did.

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
    """Leave signals as they are: Ray's own handler of SIGTERM aborts the process, and no round is ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [(number, signal.getsignal(number)) for number in STOP_SIGNALS]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _check_reachable(address: str) -> None:
    """Refuse an address at which nobody listens: Ray itself asks again for minutes.

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


def _workers_that_fit(config: Config) -> int:
    """Return how many workers the resources admit, and say so if none does.

    Raises
    ------
    UserError
        If not even one worker fits.
    """
    available: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    resources = config.resources
    fits = [int(available.get("CPU", 0) / resources.cpus_per_client)]
    if resources.gpus_per_client > 0:
        per_gpu = int(1 / resources.gpus_per_client) if resources.gpus_per_client <= 1 else 1
        gpus = available.get("GPU", 0)
        fits.append(
            int(gpus) * per_gpu if resources.gpus_per_client <= 1 else int(gpus / resources.gpus_per_client)
        )
    if min(fits) < 1:
        raise UserError(
            f"no Ray worker fits: a client takes {resources.cpus_per_client} CPUs and"
            f" {resources.gpus_per_client} GPUs, there are {available.get('CPU', 0):.0f} and"
            f" {available.get('GPU', 0):.0f}; lower resources.cpus-per-client or resources.gpus-per-client"
        )
    return min(fits)


def _cap_gpu_memory(fraction: float) -> None:
    """Keep a client within its share of a GPU: Ray's fractions only count, they do not limit."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(fraction)
