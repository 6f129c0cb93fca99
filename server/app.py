"""The Flower ServerApp."""

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from common.config import Config
from server.experiment import run_experiment
from server.records.progress import make_progress

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the experiment that the run configuration describes, on whichever Grid there is."""
    run_directory = run_experiment(Config.from_flat(context.run_config), grid, make_progress())

    # Imported here: the first round need not wait for the drawing library.
    from analysis.report import write_plots

    write_plots(run_directory)
