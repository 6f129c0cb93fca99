"""The Flower ServerApp."""

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from common.command_line import show_warnings_as_lines
from common.config import Config
from common.config_values import to_toml
from common.defaults import default_values
from common.errors import ClientFailureError, UserError
from common.flower import RUN_ID
from common.inactive import check_active
from server.experiment import run_experiment
from server.messages.pushed_again import PushedAgain
from server.messages.shared_nodes import SharedNodes
from server.records.progress import make_progress

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the experiment that the run configuration describes, on whichever Grid there is."""
    show_warnings_as_lines()
    config = Config.from_flat(context.run_config)
    check_active(config.flat())
    progress = make_progress()
    if context.run_id != RUN_ID:
        progress.note(settings_line(config))
        grid = PushedAgain(grid)
        if config.resources.clients_per_node > 1:
            grid = SharedNodes(grid, config.resources.clients_per_node)
    try:
        run_directory = run_experiment(config, grid, progress)
    except KeyboardInterrupt:
        if context.run_id == RUN_ID:  # a run of this process: its command line says how to resume
            raise
        return
    except (UserError, ClientFailureError, OSError) as error:
        # What they say is enough, and Flower would print where in the code it was said.
        raise error.with_traceback(None) from None

    if not config.analysis.draw:
        return
    # Imported here: the first round need not wait for the drawing library.
    from analysis.comparison.report import write_page
    from analysis.report import write_plots

    write_plots(run_directory)
    write_page(run_directory)


def settings_line(config: Config) -> str:
    """Return the settings that differ from the defaults, as ``flwr run`` leaves some out without a word."""
    defaults = default_values()
    given = {key: value for key, value in config.flat().items() if value != defaults.get(key)}
    shown = ", ".join(to_toml(given).splitlines())
    if not shown:
        return "all settings are the defaults ('flwr run' ignores settings with a space before or after '=')"
    return f"settings that are not the defaults: {shown}"
