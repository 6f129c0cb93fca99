"""A2CiD2's server half (Nabli, Belilovsky and Oyallon 2023, arXiv:2306.08289, Algorithm 1 and section 3)."""

import heapq
import math
from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar

from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp import Grid
from pydantic import Field

from common.clock import ClientSpeeds
from common.errors import UserError
from common.records import ARRAYS, CONFIG, SERVER_ROUND, Tensors
from common.topologies import Topology
from strategies._decentralised import Decentralised, Stack
from strategies._pair_events import PairedModels, PairEvents
from strategies._run_facts import RunFacts
from strategies._virtual_clock import OnVirtualClock


class A2CiD2(Decentralised, OnVirtualClock):
    """Asynchronous pairwise gossip, with a second model x~ per client that continuously mixes with x.

    Between events dx = eta (x~ - x) dt and dx~ = eta (x - x~) dt. A client's local steps add y - x_start to
    its x and x~ when they are done. Neighbours average at the times of a Poisson process: with m = x_i - x_j,
    x_i <- x_i - m / 2 and x~_i <- x~_i - a m, and likewise for j with -m. eta = 1 / (2 sqrt(chi_1 chi_2)) and
    a = sqrt(chi_1 / chi_2) / 2; without ``accelerated`` eta = 0 and a = 1/2, plain asynchronous gossip. A
    client averages ``communication_rate`` times per virtual second on average, while it computes. A round
    ends before the arrival of the first job that was started in it, and has the averagings up to its last
    arrival.

    Attributes
    ----------
    now, next_pair : float
        Virtual seconds at the end of the last round, and at the next averaging.
    in_flight : list of list
        A heap of [virtual time of arrival, client, round in which its job started].
    others, begun : Stack
        x~ of all clients, and the models from which their jobs in flight started; `models` has x.
    """

    COLUMNS = ("peer_bytes", "pair_averagings", "virtual_seconds")
    TRANSIENT = (
        "arrivals", "pairs", "eta", "share", "_before",
        "_num_averagings", "_speeds",
    )  # fmt: skip

    UNUSED: ClassVar[Mapping[str, str]] = {
        **Decentralised.UNUSED,
        **dict.fromkeys(
            ("clock.latency", "clock.bandwidth", "clock.bandwidth-spread"),
            "whose clients average while they compute, as often as method.communication-rate says",
        ),
        "topology.weights": "whose clients average in pairs, half and half",
    }

    communication_rate: Annotated[float, Field(gt=0, le=1000)] = 1.0
    accelerated: bool = True

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.now = self.next_pair = 0.0
        self.num_pairs = self.num_started = 0
        self.in_flight: list[list[float | int]] = []
        self.others: Stack = {}
        self.begun: Stack = {}
        self.arrivals: list[tuple[float, int, int]] = []  # time, client, round in which its job started
        self.pairs: PairEvents | None = None
        self.eta, self.share = 0.0, 0.5
        self._before, self._num_averagings = 0.0, 0
        self._speeds: ClientSpeeds | None = None

    def check_topology(self, topology: Topology, method: str) -> None:
        """Refuse one-way links, over which pairs cannot average."""
        if len(topology.links) > 1 or (topology.links[0] != topology.links[0].T).any():
            raise UserError(
                f"'{method}' averages pairs: topology.name must have the same links in all rounds, in both"
                " directions, such as 'ring', 'torus', 'complete' or 'random-regular'"
            )

    def setup(self, run: RunFacts) -> None:
        """Take the clients' speeds, and compute eta and a of the links."""
        super().setup(run)
        assert run.topology is not None
        self._speeds = run.speeds
        self.pairs = PairEvents(run.topology.links[0], self.communication_rate, run.seed)
        if self.accelerated:
            chi_1, chi_2 = self.pairs.resistances()
            self.eta, self.share = 1 / (2 * math.sqrt(chi_1 * chi_2)), math.sqrt(chi_1 / chi_2) / 2

    def num_working(self) -> int:
        """Return the number of clients: all of them always work."""
        return self.num_clients

    # Who arrives.

    def cohort(self, server_round: int) -> list[int]:
        """Advance the clock while jobs of earlier rounds arrive; return their clients, ascending."""
        assert self.pairs is not None
        if not self.in_flight:
            self.next_pair = self.pairs.gap(0)
            for number in range(self.num_clients):
                self._start(number, 0.0, 0)
        self._before, self.arrivals = self.now, []
        while self.in_flight[0][2] < server_round:
            self.now, client, begun = heapq.heappop(self.in_flight)
            self.arrivals.append((self.now, int(client), int(begun)))
            self._start(int(client), self.now, server_round)
        return sorted(client for _, client, _ in self.arrivals)

    def _start(self, client: int, time: float, server_round: int) -> None:
        assert self._speeds is not None
        steps = self._speeds.planned_steps(client, server_round + 1, int(self.client_examples[client]))
        seconds = self._speeds.job(client, self.num_started, steps)
        heapq.heappush(self.in_flight, [time + seconds, client, server_round])
        self.num_started += 1

    def begin(self, model: Tensors) -> None:
        """Set x, x~ and the starting point of all jobs to `model`."""
        super().begin(model)
        self.others, self.begun = ({k: v.clone() for k, v in self.models[ARRAYS].items()} for _ in range(2))

    def sent(self) -> dict[str, Stack]:
        """Return the models from which the jobs in flight started."""
        return {ARRAYS: self.begun}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send each client the model from which its job started; for it, the round is the one after that."""
        began = {client: number for _, client, number in self.arrivals}
        for message in super().configure_train(server_round, arrays, config, grid):
            number = began[self.client_ids[message.metadata.dst_node_id]] + 1
            message.content[CONFIG] = ConfigRecord({**config, SERVER_ROUND: number})
            yield message

    # What happened in between.

    def mix(self, server_round: int) -> dict[str, Stack]:
        """Replay the round's arrivals and averagings in their order, and return x at its end."""
        x, other = _floating(self.models[ARRAYS]), _floating(self.others)
        changes = {
            name: value - self.begun[name].double() for name, value in _floating(self.trained[ARRAYS]).items()
        }
        models = PairedModels(x, other, self.eta, self.share, [self._before] * self.num_clients)
        self._num_averagings = 0
        for time, client, _ in self.arrivals:
            self._average_until(time, models)
            models.add(client, {name: value[client] for name, value in changes.items()}, time)
            began = self.as_kept({name: value[client] for name, value in x.items()})
            counters = {n: v[client] for n, v in self.trained[ARRAYS].items() if not v.is_floating_point()}
            for name, value in (began | counters).items():
                self.begun[name][client] = value
        for client in range(self.num_clients):
            models.flow(client, self.now)
        self.others |= self.as_kept(other)
        return {ARRAYS: self.trained[ARRAYS] | x}

    def _average_until(self, time: float, models: PairedModels) -> None:
        assert self.pairs is not None
        while self.next_pair <= time:
            models.average(*self.pairs.pair(self.num_pairs), self.next_pair)
            self.num_pairs += 1
            self._num_averagings += 1
            self.next_pair += self.pairs.gap(self.num_pairs)

    def measures(self, models: Stack, server_round: int) -> dict[str, float]:
        """Add the round's virtual time, and the number of averagings and their bytes."""
        return {
            **super().measures(models, server_round),
            "peer_bytes": 2.0 * self._num_averagings * self.bytes_of_client,
            "pair_averagings": float(self._num_averagings),
            "virtual_seconds": self.now - self._before,
        }


def _floating(stack: Stack) -> Stack:
    return {name: value.double() for name, value in stack.items() if value.is_floating_point()}
