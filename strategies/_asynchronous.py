"""Asynchronous methods on a virtual clock: when clients arrive, and from which model version they started."""

import heapq
from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from common.clock import ClientSpeeds
from common.errors import UserError
from common.parameters import Needs
from common.randomness import numpy_generator
from common.records import ARRAYS, CONFIG, SERVER_ROUND, Tensors, to_record, to_tensors
from common.sections import NonNegativeFloat
from strategies._run_facts import RunFacts
from strategies._virtual_clock import OnVirtualClock

Staleness = Literal["constant", "polynomial", "hinge"]


class Asynchronous(OnVirtualClock):
    """The discrete-event queue of an asynchronous method; one round is one update of the server's model.

    A client starts a job from the current version of the model, but the job is only computed when the client
    arrives: a round sends each arriving client the version from which it started, and the clients of a round
    are those whose replies make up the update. Arrival times depend only on the seed and the configuration.
    Between rounds the server keeps the versions in flight, at most one per client in flight.

    Attributes
    ----------
    now : float
        Virtual seconds since the start of the run.
    in_flight : list of list
        A heap of [virtual time of arrival, client id, version from which the client started].
    arrived : dict
        client id → version from which it started, for the clients of the current round.
    versions : dict
        version → the model; the initial model is version 0.
    """

    COLUMNS = ("virtual_seconds", "staleness", "staleness_max")
    TRANSIENT: ClassVar[tuple[str, ...]] = ("_speeds", "_concurrency", "_num_bytes")
    PAST_MODELS = ("versions",)
    NEEDS: ClassVar[Mapping[str, Needs]] = {
        "staleness_exponent": Needs("staleness", ("polynomial",)),
        "hinge_slope": Needs("staleness", ("hinge",)),
        "hinge_bound": Needs("staleness", ("hinge",)),
    }

    staleness: Staleness = "polynomial"
    staleness_exponent: NonNegativeFloat = 0.5
    hinge_slope: NonNegativeFloat = 10.0
    hinge_bound: NonNegativeFloat = 4.0

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.now = 0.0
        self.num_started = 0
        self.in_flight: list[list[float | int]] = []
        self.arrived: dict[int, int] = {}
        self.versions: dict[int, Tensors] = {}
        self._speeds: ClientSpeeds | None = None
        self._concurrency = 1
        self._num_bytes = 0

    def setup(self, run: RunFacts) -> None:
        """Take the clients' speeds, and the number of clients that work concurrently.

        Raises
        ------
        UserError
            If an update needs more clients than there are.
        """
        super().setup(run)
        self._speeds, self._concurrency = run.speeds, run.cohort_size
        self._num_bytes = 2 * run.model_bytes  # both ways
        if self.num_arrivals > self.num_clients:
            raise UserError(
                f"method.buffer-size is {self.num_arrivals}, and a client counts once per buffer: set it"
                f" to at most clients.count, which is {self.num_clients}"
            )

    @property
    def num_arrivals(self) -> int:
        """Number of arrivals per update."""
        return self.arrivals(self._concurrency)

    def arrivals(self, concurrency: int) -> int:
        """Return the number of arrivals per update with this number of concurrent clients."""
        return 1

    def discount(self, staleness: int) -> float:
        """Return s(d), the weight of a reply whose model is d versions old (Xie et al. 2019, section 5.2)."""
        if self.staleness == "polynomial":
            return float((staleness + 1) ** -self.staleness_exponent)
        if self.staleness == "hinge" and staleness > self.hinge_bound:
            return 1 / (self.hinge_slope * (staleness - self.hinge_bound) + 1)
        return 1.0

    def num_working(self) -> int:
        """Return how many jobs are in flight."""
        return min(self._concurrency, self.num_clients)

    # The clock.

    def cohort(self, server_round: int) -> list[int]:
        """Advance the clock until an update is due; return the clients that have arrived, ascending."""
        version, before = server_round - 1, self.now
        self.arrived = {}
        while len(self.in_flight) < self._concurrency and self._start(version):
            pass
        while len(self.arrived) < self.num_arrivals:
            self.now, client_id, begun = heapq.heappop(self.in_flight)
            self.arrived[int(client_id)] = int(begun)
            if len(self.arrived) < self.num_arrivals:
                self._start(version)
        ages = [version - begun for begun in self.arrived.values()]
        self.round_metrics = {
            "virtual_seconds": self.now - before,
            "staleness": sum(ages) / len(ages),
            "staleness_max": float(max(ages)),
        }
        return sorted(self.arrived)

    def _start(self, version: int) -> bool:
        """Start a job on an idle client, if any; clients that have arrived wait for the next update."""
        assert self._speeds is not None
        busy = {int(client_id) for _, client_id, _ in self.in_flight} | self.arrived.keys()
        if not (num_idle := self.num_clients - len(busy)):
            return False
        generator = numpy_generator(self.seed, "clock", self.num_started)
        client_id = nth_left(int(generator.integers(num_idle)), busy)
        steps = self._speeds.planned_steps(client_id, version + 1, int(self.client_examples[client_id]))
        arrival = self.now + self._speeds.job(client_id, self.num_started, steps, self._num_bytes)
        heapq.heappush(self.in_flight, [arrival, client_id, version])
        self.num_started += 1
        return True

    # Helpers for hooks.

    def staleness_of(self, reply: Message) -> int:
        """Return the age, in versions, of the model from which a reply's client started."""
        return max(self.versions) - self.arrived[self.client_of(reply)]

    def start_of(self, reply: Message) -> Tensors:
        """Return the model from which a reply's client started."""
        return self.versions[self.arrived[self.client_of(reply)]]

    # FedAvg's hooks.

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send each client that arrives in this round the version from which it started.

        For the client it is that version's round: learning rate, phase and batches are those of that round.
        """
        version = server_round - 1
        self.global_model = to_tensors(arrays)
        self.versions[version] = self.global_model
        needed = {version, *self.arrived.values(), *(int(begun) for _, _, begun in self.in_flight)}
        self.versions = {number: self.versions[number] for number in sorted(needed)}
        contents = {
            begun: RecordDict(
                {
                    ARRAYS: arrays if begun == version else to_record(self.versions[begun]),
                    CONFIG: ConfigRecord({**config, SERVER_ROUND: begun + 1}),
                }
            )
            for begun in sorted(set(self.arrived.values()))
        }
        return [
            Message(
                contents[self.arrived[self.client_ids[node_id]]],
                dst_node_id=node_id,
                message_type=MessageType.TRAIN,
            )
            for node_id in grid.get_node_ids()
        ]


def nth_left(position: int, taken: Iterable[int]) -> int:
    """Return the integer at a position, from 0, among the non-negative integers that are not taken."""
    number = position
    for other in sorted(taken):
        if other > number:
            break
        number += 1
    return number
