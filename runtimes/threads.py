"""A Grid that calls the ClientApp in threads of this process, several clients at a time.

torch releases the GIL while it computes, so models whose steps are mostly arithmetic, such as convolutional
ones, train in parallel; the steps of small models are mostly Python, which runs in one thread at a time.
"""

import os
import queue
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from flwr.app import Context, Message, MessageType

from clients.app import answer_together, prepare_threads
from clients.node.run_configuration import parse_run_config
from runtimes.capacity import Machine, workers_that_fit
from runtimes.local_grid import stacks
from runtimes.sequential import SequentialGrid
from server.measurer import Candidate, Measurer, Measures, Share, make_measurer

_AHEAD = 2  # jobs handed out per thread, so that none is idle while a reply is reduced


class ThreadsGrid(SequentialGrid):
    """Carries messages to a ClientApp in threads; parameters as of `SequentialGrid`.

    ``runtime.workers`` is their number (0: as many as ``resources.cpus-per-client`` permits). Threads share
    data and messages, and each has its own model. Jobs start in the order of their messages, so that
    replies can be reduced as they arrive. Code that is not thread-safe (such as code that draws from global
    generators) runs in a single thread, with a line that gives the reason.
    """

    _pool: ThreadPoolExecutor | None = None
    _why_alone = ""
    _measurers: Sequence[Measurer] = ()

    def exchange(self, messages: list[Message]) -> Iterator[Message]:
        """Distribute the messages over the threads and yield the replies as they arrive."""
        if self._pool is None and not self._why_alone:
            self._pool = self._start_threads()
        if self._pool is not None:
            return self._spread(messages, self._pool)
        if messages and messages[0].metadata.message_type == MessageType.TRAIN:
            alone = "clients train one after the other, although runtime.name is 'threads'"
            self.note(f"{alone}: {self._why_alone}")
        return super().exchange(messages)

    def measure(self, candidate: Candidate, num_batches: int) -> list[Measures | None]:
        """Distribute the test batches over the threads, which are idle then; see `RayGrid.measure`."""
        count = min(num_batches, self._num_workers)
        if self._pool is None or count < 2:
            return []
        if not self._measurers:
            first = make_measurer(parse_run_config(self._run_config))
            self._measurers = [first, *(first.twin() for _ in range(self._num_workers - 1))]
        jobs = [
            self._pool.submit(measurer.measure_share, candidate, Share(index, count))
            for index, measurer in enumerate(self._measurers[:count])
        ]
        return [None if job.exception() else job.result() for job in jobs]

    def close(self) -> None:
        """Wait for the threads to finish the jobs that they have started, and end them."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        super().close()

    def _spread(self, messages: list[Message], pool: ThreadPoolExecutor) -> Iterator[Message]:
        waiting = deque(stacks(messages, self.stack))
        running: dict[Future[tuple[list[Message], list[str]]], list[int]] = {}
        try:
            while waiting or running:
                while waiting and len(running) < _AHEAD * self._num_workers:
                    some = waiting.popleft()
                    node_ids = [message.metadata.dst_node_id for message in some]
                    contexts = [self._context(node_id) for node_id in node_ids]
                    running[pool.submit(self._answer, some, contexts)] = [*map(self.client_id, node_ids)]
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    self.states.settle(running.pop(future))
                    replies, notes = future.result()
                    for note in notes:
                        self.note(note)
                    while replies:  # a list would keep the replies already reduced in memory
                        yield replies.pop(0)
        finally:
            for future in running:
                future.cancel()
            wait(running)

    def _answer(
        self, messages: Sequence[Message], contexts: list[Context]
    ) -> tuple[list[Message], list[str]]:
        if len(messages) == 1:
            return [self._client_app(messages[0], contexts[0])], []
        notes: list[str] = []
        return list(answer_together(messages, contexts, notes.append)), notes

    def _start_threads(self) -> ThreadPoolExecutor | None:
        """Start the threads; None if clients must be trained one after the other."""
        starts, why_not = prepare_threads(self._run_config, self._num_workers)
        if why_not:
            self._why_alone = why_not
            return None
        left: queue.SimpleQueue[object] = queue.SimpleQueue()
        for start in starts:
            left.put(start)
        return ThreadPoolExecutor(self._num_workers, "client", initializer=lambda: left.get_nowait()())  # type: ignore[operator]

    @property
    def _num_workers(self) -> int:
        if self._why_alone:
            return 1
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        fitting, _ = workers_that_fit(
            [Machine(cpus)], float(self._run_config["resources.cpus-per-client"]), 0.0
        )
        return int(self._run_config["runtime.workers"]) or max(1, min(fitting, self.num_clients))

    def _clock(self) -> float:
        return time.perf_counter()
