"""A Grid over long-lived Ray actors.

A round's records go into Ray's object store once, whatever the size of the cohort. Client states stay there
too, and move only if another actor trains the client next. Actors run large clients first.

An actor that dies is replaced, and its job runs again on another one: what a job computes depends on the
seed, never on the actor. A job on which several actors have died counts as failed.

With ``resources.gpus-per-client = "auto"`` the first training job, one of the largest, is measured.
"""

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from flwr.app import Error, Message, MessageType

from common.config import Config
from common.errors import WORKER_DIED
from common.records import METRICS
from runtimes.local_grid import LocalGrid, stacks
from runtimes.ray.actors import DEATHS, Actors, result_of, show
from runtimes.ray.cluster import with_absolute_paths
from runtimes.ray.connection import start_ray
from server.measurer import Candidate, Measures, Share

MAX_DEATHS = 3  # of actors on one job, which may itself be the cause


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
        self._started_ray = start_ray(config)
        self._actors = Actors(config, actors)
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
        if (
            self._actors.is_measuring
            and jobs
            and jobs[0].messages[0].metadata.message_type == MessageType.TRAIN
        ):
            largest = max(jobs, key=lambda job: (job.num_bytes, self._size(job)))
            jobs = [job for job in jobs if job is not largest]
            ray.get(self._actors.all[0].forget_peak.remote())
            yield from self._spread([largest], contents, self._actors.all[:1])
            self._actors.settle_gpus()
        yield from self._spread(jobs, contents, self._actors.all)

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
            result = result_of(done)
            if not isinstance(result, DEATHS):
                idle.append(actor)
                yield from self._receive(result, states, job)
                continue
            # A new actor takes a while to start: running ones come first.
            idle = [self._actors.replace(actor), *self._actors.living(idle)]
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
        return len(self._actors.all)

    @contextlib.contextmanager
    def _keeping_nothing(self, messages: Sequence[Message]) -> Iterator[None]:
        kept, is_measuring = (self._states, self._sizes), self._actors.is_measuring
        self._states, self._sizes = map(dict, kept)
        self._actors.is_measuring = False
        try:
            yield
        finally:
            (self._states, self._sizes), self._actors.is_measuring = kept, is_measuring

    def measure(self, candidate: Candidate, num_batches: int) -> list[Measures | None]:
        """Distribute the test batches over the idle actors; on GPUs only if each has its own.

        A share that fails is None: the caller then measures all of them itself, and meets the error.
        """
        actors = self._actors.all[:num_batches]
        if len(actors) < 2 or self._actors.share_gpus():
            return []
        reference = ray.put(candidate)
        jobs = [
            actor.measure.remote([self._run], [reference], Share(index, len(actors)))
            for index, actor in enumerate(actors)
        ]
        results = [result_of(job) for job in jobs]
        for actor, result in zip(actors, results, strict=True):
            if isinstance(result, DEATHS):
                self._actors.replace(actor)
        return [None if isinstance(result, ray.exceptions.RayError) else result for result in results]

    def close(self) -> None:
        """Stop the actors, and Ray if this Grid started it."""
        self._actors.close()
        if self._started_ray:
            ray.shutdown()

    def _size(self, job: _Job) -> float:
        return sum(self._sizes.get(node_id, 0.0) for node_id in job.nodes)

    def _report(self, job: _Job, death: Exception) -> None:
        client_ids = ", ".join(str(self.client_id(node_id)) for node_id in job.nodes)
        reason = str(death).strip().splitlines()[0]
        show(f"a Ray worker died at a job of client {client_ids}; another one repeats it ({reason})")

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
