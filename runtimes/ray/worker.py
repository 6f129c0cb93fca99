"""The code that runs in the process of a Ray actor."""

import os
from dataclasses import dataclass, field
from typing import Any

import ray
import torch
from flwr.app import Error, Message

from clients.app import answer_together, app
from clients.node.run_configuration import parse_run_config
from common.errors import CLIENT_MISCONFIGURED
from common.flower import Metadata, assume_task_identity, rebuild_message
from runtimes.local_grid import LocalGrid
from runtimes.ray.cluster import what_is_lacking
from runtimes.sequential import make_context
from server.measurer import Measurer, Measures, Share, make_measurer


@dataclass(frozen=True)
class Done:
    """The replies of a job, in the order of its messages, and remarks on how it ran."""

    replies: list[Message]
    notes: list[str] = field(default_factory=list)


class RayWorker:
    """Runs client jobs in a separate process; keeps the data and one model (``clients.local.worker``)."""

    def __init__(self, gpus: float) -> None:
        assume_task_identity()
        if 0 < gpus < 1 and torch.cuda.is_available():
            # Ray only accounts for fractions, it does not enforce them.
            torch.cuda.set_per_process_memory_fraction(gpus)
        self._fetched: dict[str, tuple[Any, Any]] = {}
        self._measurer: tuple[Any, Measurer] | None = None
        self._has_data_of: Any = None

    def ping(self) -> int:
        """Return the process id, as a sign of life."""
        return os.getpid()

    def run(self, run: list[Any], contents: list[Any], metadata: list[Metadata], states: list[Any]) -> Any:
        """Do the jobs of several messages together; return ``Done``, and each client's state.

        References arrive in lists, so that Ray does not fetch them again for each job.
        """
        run_config, num_clients = self._fetch("run", run[0])
        # Usually all messages share their content, which is then fetched and read once.
        messages = [
            rebuild_message(self._fetch("content", content), each)
            for content, each in zip(contents, metadata, strict=True)
        ]
        if self._has_data_of != run[0]:
            if lacking := what_is_lacking(parse_run_config(run_config)):
                error = Error(CLIENT_MISCONFIGURED, lacking)
                return [Done([Message(error, reply_to=message) for message in messages]), *states]
            self._has_data_of = run[0]
        contexts = [
            make_context(LocalGrid.client_id(each.dst_node_id), num_clients, run_config, each.dst_node_id)
            for each in metadata
        ]
        for context, state in zip(contexts, states, strict=True):
            if state is not None:
                context.state = ray.get(state)
        if len(messages) == 1:
            done = Done([app(messages[0], contexts[0])])
        else:
            notes: list[str] = []
            replies = {
                reply.metadata.reply_to_message_id: reply
                for reply in answer_together(messages, contexts, notes.append)
            }
            done = Done([replies[each.message_id] for each in metadata], notes)
        return [done, *(context.state for context in contexts)]

    def measure(self, run: list[Any], candidate: list[Any], share: Share) -> Measures | None:
        """Measure a share of the test batches; references as in ``run``."""
        run_config, _ = self._fetch("run", run[0])
        if self._measurer is None or self._measurer[0] != run[0]:
            self._measurer = (run[0], make_measurer(parse_run_config(run_config)))
        return self._measurer[1].measure_share(self._fetch("candidate", candidate[0]), share)

    def forget_peak(self) -> None:
        """Reset the measurement of this process's GPU memory."""
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak(self) -> tuple[int, int] | None:
        """Return the peak bytes of GPU memory in use since ``forget_peak``, and the GPU's total.

        Includes what torch does not count: the CUDA context and other processes.
        """
        if not torch.cuda.is_available():
            return None
        free, total = torch.cuda.mem_get_info()
        return total - free - torch.cuda.memory_reserved() + torch.cuda.max_memory_reserved(), total

    def _fetch(self, what: str, reference: Any) -> Any:
        """Return the object behind a reference; it is cached until another one is requested."""
        if what not in self._fetched or self._fetched[what][0] != reference:
            self._fetched[what] = (reference, ray.get(reference))
        return self._fetched[what][1]
