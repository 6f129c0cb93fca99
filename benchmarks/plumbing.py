"""What the sequential runtime costs by itself: rounds whose clients do nothing.

Two cases: clients reply with metrics only, which leaves pure message plumbing; and clients reply with the
model that they were sent, which adds the server's checks and the float64 average over the whole cohort.
"""

import time

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from benchmarks.harness import show
from common.records import ARRAYS, METRICS, to_record
from runtimes.sequential import SequentialGrid
from server.messages.directory import CohortGrid
from server.messages.exchange import exchange
from server.messages.replies import ReplyCheck
from strategies.fedavg import FedAvg

COHORT, ROUNDS = 50, 20


def idle_app(echo: bool) -> ClientApp:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        metrics = MetricRecord({"num-examples": 1, "num-steps": 0, "train_loss": 0.0, "seconds": 0.0})
        content = RecordDict({METRICS: metrics})
        if echo:
            content[ARRAYS] = message.content.array_records[ARRAYS]
        return Message(content, reply_to=message)

    return app


def seconds_per_round(echo: bool, num_parameters: int) -> float:
    grid = SequentialGrid(idle_app(echo), 1000, {})
    arrays: ArrayRecord = to_record({"weight": torch.randn(num_parameters)})
    strategy = FedAvg()
    nodes = dict(enumerate(list(grid.get_node_ids())[:COHORT]))
    reference: dict[str, Array] = dict(arrays)
    times = []
    for server_round in range(1, ROUNDS + 1):
        started = time.perf_counter()
        view = CohortGrid(grid, nodes.values())
        messages = strategy.configure_train(
            server_round, arrays, ConfigRecord({"server-round": server_round}), view
        )
        check = ReplyCheck(list(nodes), reference, tolerate=False)
        replies = exchange(grid, dict(zip(nodes, messages, strict=True)), 60.0)
        strategy.aggregate_train(server_round, check.in_client_order(replies))
        times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2]


def main() -> None:
    torch.set_num_threads(1)
    rows: list[tuple[object, ...]] = []
    for num_parameters in (8_000, 1_500_000):
        for echo, name in ((False, "metrics only"), (True, "the model, checked and averaged")):
            milliseconds = 1000 * seconds_per_round(echo, num_parameters)
            rows.append((f"{4 * num_parameters / 1e6:.2f} MB", name, f"{milliseconds:.1f}"))
    show(f"Idle round of {COHORT} of 1000 clients, median of {ROUNDS}", ("model", "replies hold", "ms"), rows)


if __name__ == "__main__":
    main()
