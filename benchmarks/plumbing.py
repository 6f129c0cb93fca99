"""What the sequential runtime costs by itself: rounds whose clients do nothing.

Two cases: clients reply with metrics only, which leaves pure message plumbing; and clients reply with the
model that they were sent, which adds the server's checks and the float64 average over the whole cohort.
"""

import time
from collections.abc import Sequence

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from benchmarks.harness import parser, show
from common.records import ARRAYS, METRICS, SERVER_ROUND, to_record
from runtimes.sequential import SequentialGrid
from server.messages.cohort_grid import CohortGrid
from server.messages.exchange import exchange
from server.messages.replies import ReplyCheck
from strategies.fedavg import FedAvg

CLIENTS = 1000


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


def seconds_per_round(echo: bool, num_parameters: int, cohort: int, rounds: int) -> float:
    """Return the median over the rounds."""
    grid = SequentialGrid(idle_app(echo), CLIENTS, {})
    arrays: ArrayRecord = to_record({"weight": torch.randn(num_parameters)})
    strategy = FedAvg()
    nodes = dict(enumerate(list(grid.get_node_ids())[:cohort]))
    reference: dict[str, Array] = dict(arrays)
    times = []
    for server_round in range(1, rounds + 1):
        started = time.perf_counter()
        view = CohortGrid(grid, nodes.values())
        messages = strategy.configure_train(
            server_round, arrays, ConfigRecord({SERVER_ROUND: server_round}), view
        )
        check = ReplyCheck(list(nodes), dict.fromkeys(nodes, reference), tolerate=False)
        replies = exchange(grid, dict(zip(nodes, messages, strict=True)), 60.0)
        strategy.aggregate_train(server_round, check.in_client_order(replies))
        times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    options = parser(__doc__).parse_args(arguments)
    cohort, rounds = (5, 2) if options.tiny else (50, 20)
    torch.set_num_threads(1)
    table: list[tuple[object, ...]] = []
    for num_parameters in (8_000, 1_500_000)[: 1 if options.tiny else None]:
        for echo, name in ((False, "metrics only"), (True, "the model, checked and averaged")):
            milliseconds = 1000 * seconds_per_round(echo, num_parameters, cohort, rounds)
            table.append((f"{4 * num_parameters / 1e6:.2f} MB", name, f"{milliseconds:.1f}"))
    title = f"Idle round of {cohort} of {CLIENTS} clients, median of {rounds}"
    show(title, ("model", "replies hold", "ms"), table)


if __name__ == "__main__":
    main()
