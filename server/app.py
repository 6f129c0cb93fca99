"""The Flower ServerApp."""

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from analysis.report import write_plots
from common.config import Config
from server.experiment import run_experiment
from server.progress import make_progress

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the experiment that the run configuration describes, on whichever Grid there is."""
    write_plots(run_experiment(Config.from_flat(context.run_config), grid, make_progress()))
