"""Workers for threads that train clients in parallel: each has its own model, the data are shared."""

import functools
import threading
from collections.abc import Callable

import torch

from clients.local.worker import Worker
from common.global_generators import leave_to_others
from models.sizes.submodels import parse_sizes

_here = threading.local()


def why_not_in_threads(worker: Worker) -> str:
    """Return why clients cannot be trained in threads of one process; empty if they can."""
    if worker.runs_outside_code:
        return "code from outside the project takes part, which may draw from generators that threads share"
    if worker.config.model.individual_init:
        return "model.individual-init makes clients draw initial weights, from generators that threads share"
    if worker.config.local.compile:
        return "local.compile compiles a model for one thread"
    if worker.device.type != "cpu":
        return "threads are for a CPU, and the device is a GPU"
    return ""


def thread_starts(worker: Worker, count: int) -> list[Callable[[], None]]:
    """Return the functions that `count` threads call first, to set each one's ``worker_of_thread``.

    All models are made here, since the threads must not draw from global generators.
    """
    if worker.config.model.sizes:
        for size in dict.fromkeys(parse_sizes(worker.model, worker.config.model.sizes)):
            worker.sized(size)
    return [functools.partial(_start, worker.twin()) for _ in range(count)]


def worker_of_thread() -> Worker | None:
    """Return the calling thread's worker, if it has one."""
    return getattr(_here, "worker", None)


def _start(worker: Worker) -> None:
    leave_to_others()
    torch.set_num_threads(worker.config.resources.threads_per_worker)
    _here.worker = worker
