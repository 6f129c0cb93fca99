"""Rerun one recorded client job, alone and in this process: for a traceback, or under a debugger.

python -m runtimes.replay DIRECTORY
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from flwr.app import Message

from clients.node.jobs import JOBS
from common.command_line import Parser
from common.errors import UserError
from common.files import expanded
from common.flower import SERVER_NODE_ID, assume_task_identity
from common.records import metrics_record, to_record
from runtimes.command import exit_code
from runtimes.sequential import make_context
from server.checkpoints.stored_config import stored_config
from server.messages.failed_job import FailedJob


def replay(directory: Path) -> int:
    """Run the job in `directory` and return the exit code; an exception of the job propagates."""
    if not (directory / "job.json").is_file():
        raise UserError(f"{directory} holds no recorded job; the error message of a failed run names one")
    job = FailedJob.load(directory)
    config = stored_config(job.run_config)
    kind = job.job.removesuffix(".default")
    if kind not in JOBS or not 0 <= job.client_id < config.clients.count:
        raise UserError(f"{directory} holds no job of this run: '{job.job}' of client {job.client_id}")
    assume_task_identity()
    node_id = SERVER_NODE_ID + 1 + job.client_id
    context = make_context(job.client_id, config.clients.count, config.flat(), node_id)
    for name, section in job.state.items():
        context.state[name] = to_record(section)
    message = Message(job.content(), dst_node_id=node_id, message_type=job.job)
    reply = JOBS[kind](message, context)
    print(f"client {job.client_id} finished: {dict(metrics_record(reply))}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code."""
    parser = Parser(prog="python -m runtimes.replay", description=__doc__, allow_abbrev=False)
    parser.add_argument("directory", help="the folder named in the error message of a failed run")

    def command() -> int:
        return replay(expanded(parser.parse_args(arguments).directory, "the command line"))

    return exit_code(command)


if __name__ == "__main__":
    sys.exit(main())
