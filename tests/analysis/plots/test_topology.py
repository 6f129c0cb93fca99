"""The picture of a decentralised run's links."""

import pytest

from analysis.plots.topology import plot
from analysis.reading.run_directory import NoDataError
from common.errors import UserError
from server.records.topology import write_topology
from strategies.fedavg import FedAvg
from strategies.gossip_sgd import GossipSgd
from tests.analysis.conftest import picture_is_drawn
from tests.conftest import small_config


@pytest.mark.parametrize(("name", "rows"), [("ring", 2 * 6), ("one-peer-exponential", 3 * 6)])
def test_it_is_drawn_from_what_the_run_wrote(make_run, name, rows):
    run_dir = make_run("run", (0.1, 0.2))
    write_topology(run_dir / "topology.csv", small_config(topology__name=name), GossipSgd())
    assert len((run_dir / "topology.csv").read_text().splitlines()) == 1 + rows
    assert picture_is_drawn(plot(run_dir))


def test_runs_without_links_and_damaged_ones(make_run):
    run_dir = make_run("run", (0.1, 0.2))
    write_topology(run_dir / "topology.csv", small_config(), FedAvg())
    with pytest.raises(NoDataError):
        plot(run_dir)
    for client in ("-1", "0.5", "1e9", "", "x"):
        (run_dir / "topology.csv").write_text(f"round,client_id,neighbour,weight\n1,{client},1,0.5\n")
        with pytest.raises(UserError, match="damaged"):
            plot(run_dir)
