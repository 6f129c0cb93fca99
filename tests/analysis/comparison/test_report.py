"""The report of runs and sweeps: what it says, that it loads nothing, and that labels stay text."""

import json
import os
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.comparison import report_sections
from analysis.comparison.fairness import client_accuracies, fairness
from analysis.comparison.report import main, write_page
from analysis.comparison.sweep_report import write_report
from analysis.report import write_plots
from common.command_line import make_console
from common.errors import UserError
from common.request import REQUEST_FILE, keeping_request, leading_comment, write_request
from server.records.client_metrics import summarise_evaluations

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"


class Loads(HTMLParser):
    """Collects elements, and every attribute by which a page loads or runs something."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.loaded, self.handlers = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        for name, value in attributes:
            if name in {"src", "href", "srcset", "action", "data", "poster"}:
                self.loaded.append(value)
            if name.startswith("on"):
                self.handlers.append(name)


def report(out, *paths):
    assert main([*map(str, paths), "--out", str(out)]) == 0
    return out.read_text(encoding="utf-8")


def cells(text):
    return [re.sub("<.*?>", "", cell) for cell in re.findall("<td>.*?</td>", text)]


def rows(text):
    return [cells(row) for row in re.findall("<tr>(?!<th>).*?</tr>", text, re.DOTALL) if "<td>" in row]


def write_evaluations(run_dir, accuracies, server_round=4):
    table = pd.DataFrame({"round": server_round, "client_id": range(len(accuracies)), "accuracy": accuracies})
    table["num_examples"] = 10
    table.to_csv(run_dir / "evaluations.csv", index=False)


@pytest.fixture
def blank_pictures(monkeypatch):
    """Save empty pictures: a test that looks at the text of a page does not wait for 20 of them."""
    savefig = Figure.savefig

    def save(figure, path, **options):
        savefig(Figure(figsize=(0.2, 0.2), dpi=20), path, **options)

    monkeypatch.setattr(Figure, "savefig", save)


@pytest.fixture
def sweep(make_run, tmp_path):
    """Two configurations with two seeds each, one of them with a published number; a fifth never ended."""
    runs = {}
    finals = {"plain,seed0": 0.6, "plain,seed1": 0.7, "prox,seed0": 0.5, "prox,seed1": 0.5}
    for name, final in finals.items():
        method, seed = name.split(",")
        make_run(name, (0.1, final), seed=int(seed[-1]), method__name=method)
        published = 71.5 if method == "plain" else None
        runs[name] = {"labels": {"method": method, "seed": seed}, "directory": name, "published": published}
    (tmp_path / "late,seed0").mkdir()
    runs["late,seed0"] = {
        "labels": {"method": "late", "seed": "seed0"}, "directory": "late,seed0", "published": None
    }  # fmt: skip
    axes = {"method": ["plain", "prox", "late"], "seed": ["seed0", "seed1"]}
    content = {"axes": axes, "metrics": ["test_accuracy"], "runs": runs}
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    return tmp_path


def test_run(make_run, tmp_path):
    run_dir = make_run()
    write_evaluations(run_dir, np.linspace(0.05, 1, 20))
    write_request(run_dir, "# Why runs\n# differ.\n\nrounds = 4\n", ["a b.toml", "--set", "rounds=4"])

    text = report(tmp_path / "report.html", run_dir)

    titles = re.findall("<h2>(.*?)</h2>", text)
    assert titles == [
        "What was asked", "Result", "Curves", "Costs", "Who holds which labels", "Participation",
        "Fairness among clients", "Settings", "Environment", "Run it again",
    ]  # fmt: skip
    assert "<p>Why runs differ.</p>" in text
    assert "python run_simulation.py &#x27;a b.toml&#x27; --set rounds=4" in text
    found = cells(text)
    assert {"60.00", "70.00"} <= set(found)  # final, best
    assert "last ten" not in text, "there are three evaluations after round 0"
    # Worst tenth of 0.05, 0.1 ... 1: the mean of the lowest two.
    assert found[found.index("global model") + 1 :][:4] == ["20", "52.50", "28.83", "7.50"]


@pytest.mark.usefixtures("blank_pictures")
def test_sweep_has_means_over_seeds_next_to_published_numbers(sweep, tmp_path):
    text = report(tmp_path / "out" / "report.html", sweep)

    found = cells(text)
    row = found[found.index("plain (2 seeds)") :][:6]
    assert row[1] == "65.00 ± 7.07"  # the sample deviation of 60 and 70
    assert row[3:5] == ["71.5", "-6.50"]
    assert found[found.index("prox (2 seeds)") :][3:5] == ["-", "-"]
    assert "late,seed0" in text
    differing = re.search("<h2>Settings in which the runs differ</h2>.*?</thead>", text, re.DOTALL)
    assert re.findall(">([^<>\n]+)</th>", differing[0]) == ["run", "method.name", "seed"]


def test_page_loads_nothing_and_labels_stay_text(make_run, tmp_path):
    runs = [make_run(name, model__name=f"{EVIL}{name}") for name in ("a", "b")]
    write_request(runs[0], f"# {EVIL} javascript:alert(3)\n", [EVIL])

    page = Loads(text := report(tmp_path / "report.html", *runs))

    assert {"img", "table"} <= page.tags
    assert not {"script", "link", "iframe", "object", "embed", "base", "a"} & page.tags
    assert page.loaded
    assert all(value.startswith("data:image/png;base64,") for value in page.loaded)
    assert not page.handlers
    assert not re.search(r"@import|url\(", text)
    assert "default-src 'none'" in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_markdown_has_its_pictures_as_files(make_run, tmp_path):
    run_dir = make_run(model__name=f"{EVIL} | *x*")
    write_request(run_dir, "# Of `pipes` | and [links](http://a.example).", [])

    text = report(tmp_path / "the report.md", run_dir)

    pictures = re.findall(r"!\[.*?\]\(<(.*?)>\)", text)
    assert len(pictures) >= 4
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    assert "<script" not in text
    assert "<img" not in text
    assert r"Of \`pipes\` \| and \[links\](http://a.example)." in text
    (row,) = [line for line in text.splitlines() if line.startswith("| model.name")]
    assert len(re.findall(r"(?<!\\)\|", row)) == 3


@pytest.mark.usefixtures("blank_pictures")
def test_runs_that_have_not_ended(make_run, tmp_path, capsys):
    whole, half = make_run("whole"), make_run("half")
    (half / "summary.json").unlink()
    (half / "config.toml").write_text("rounds = 4\n")
    with pytest.warns(UserWarning, match="not finished, and left out: .*half"):
        assert "half" in report(tmp_path / "report.html", whole, half)
    capsys.readouterr()

    with pytest.warns(UserWarning, match="not finished, and shown as far as it is: .*half"):
        text = report(tmp_path / "half.html", half)
    assert "Not finished, and shown as far as it is: half up to round 4." in text
    assert "4 of 4, not finished" in text
    assert "and left out" not in text

    (half / "metrics.csv").unlink()
    (tmp_path / "foreign").mkdir()
    for path in (half, tmp_path / "foreign", tmp_path / "nowhere", tmp_path / "x*"):
        assert main([str(path), "--out", str(tmp_path / "other.html")]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "other.html").exists()


@pytest.mark.usefixtures("blank_pictures")
@pytest.mark.parametrize(
    "name", ["metrics.csv", "clients.csv", "evaluations.csv", "summary.json", REQUEST_FILE]
)
def test_damaged_files_give_a_page_or_one_line(make_run, tmp_path, capsys, name):
    run_dir = make_run()
    for content in (b"\xff\xfe\x00", b"{}\n", b"round\n1\n1\n"):
        (run_dir / name).write_bytes(content)
        code = main([str(run_dir), "--out", str(tmp_path / "report.html")])
        assert code in (0, 2)
        assert capsys.readouterr().err.count("\n") == (1 if code else 0)


def test_end_of_a_run_is_no_worse_for_a_report_that_fails(make_run):
    run_dir = make_run()
    (run_dir / "summary.json").write_text("[4]")
    with pytest.warns(UserWarning, match="there is no report: .* is not the summary of a run"):
        write_page(run_dir)


def test_ending_of_the_file(make_run, tmp_path, capsys):
    assert main([str(make_run()), "--out", str(tmp_path / "report.docx")]) == 2
    assert "must end with .html or .md" in capsys.readouterr().err


def test_fairness_agrees_with_the_columns_of_the_run(make_run):
    run_dir = make_run()
    values = np.random.default_rng(0).uniform(size=37).round(6)
    write_evaluations(run_dir, values)
    metrics = {client: {"num-examples": 10, "accuracy": float(value)} for client, value in enumerate(values)}
    columns = summarise_evaluations(metrics)

    _, mean, _, worst, low, _, high = fairness(client_accuracies(run_dir)["global model"])

    kinds = ("macro", "worst_decile", "p10", "p90")
    assert [columns[f"federated_accuracy_{kind}"] for kind in kinds] == pytest.approx(
        [mean, worst, low, high]
    )


@pytest.mark.usefixtures("blank_pictures")
def test_the_environment_has_the_hardware_that_was_used(make_run, tmp_path):
    run_dir = make_run(device="auto")
    summary = json.loads((run_dir / "summary.json").read_text())
    summary["hardware"] = {"device": "cuda:0", "processor": "A CPU", "GPU": "A GPU", "cores": 8, "threads": 1}
    (run_dir / "summary.json").write_text(json.dumps(summary))
    text = report(tmp_path / "report.html", run_dir)
    found = rows(re.search("<h2>Environment</h2>.*", text, re.DOTALL)[0])
    assert ["device", "cuda:0"] in found
    assert ["GPU", "A GPU"] in found
    assert ["threads", "1"] in found


def test_leading_comment():
    text = "# One\n# two.\n#\n# Three.\n\n# Not this.\nrounds = 1\n"
    assert leading_comment(text) == "One two.\n\nThree."
    assert leading_comment("\ufeff# One\nrounds = 1") == "One"
    assert leading_comment("rounds = 1 # no") == ""


def test_refused_run_leaves_no_request(tmp_path):

    def refuse(directory):
        with keeping_request(directory, "# Why.", ["x"]):
            raise UserError("no")

    with pytest.raises(UserError):
        refuse(tmp_path / "new" / "run")
    assert not (tmp_path / "new").exists()

    write_request(tmp_path, "# Why.", ["first"])
    with pytest.raises(UserError):
        refuse(tmp_path)
    write_request(tmp_path, "", ["--resume"])
    kept = json.loads((tmp_path / REQUEST_FILE).read_text())
    assert kept == {
        "comment": "Why.",
        "commands": ["python run_simulation.py first", "python run_simulation.py --resume"],
    }


@pytest.mark.usefixtures("blank_pictures")
def test_a_damaged_file_of_one_run_costs_its_section_alone(sweep, tmp_path):
    damaged = next(path for path in sorted(sweep.iterdir()) if (path / "clients.csv").is_file())
    (damaged / "clients.csv").write_bytes(b"\xff\xfe")
    with pytest.warns(UserWarning, match="'Participation' of the report is incomplete: .*clients.csv"):
        text = report(tmp_path / "report.html", sweep)
    section = re.search("<h2>Participation</h2>.*?<h2>", text, re.DOTALL)[0]
    assert re.search(f"Left out: .*{damaged.name}/clients.csv: it is not UTF-8", section)
    names = ("plain,seed0", "plain,seed1", "prox,seed0", "prox,seed1")
    # The same clients took part in all of them: they share a row.
    assert [row[0] for row in rows(section)] == ["; ".join(name for name in names if name != damaged.name)]
    # Costs need clients.csv too: of two seeds one remains, and the label says so.
    costs = re.search("<h2>Costs</h2>.*?<h2>", text, re.DOTALL)[0]
    assert [row[0] for row in rows(costs)] == ["plain", "prox (2 seeds)"]
    assert "plain (2 seeds)" in re.search("<h2>Result</h2>.*?<h2>", text, re.DOTALL)[0]


@pytest.mark.usefixtures("blank_pictures")
@pytest.mark.parametrize(
    "name", ["metrics.csv", "clients.csv", "evaluations.csv", "label_distribution.csv", "summary.json"]
)
def test_a_damaged_file_of_one_run_leaves_the_others_in_every_section(make_run, tmp_path, name):
    runs = [make_run(run, method__name=run) for run in ("damaged", "whole")]
    for run in runs:
        write_evaluations(run, [0.5, 0.6])
    before = re.findall("<h2>(.*?)</h2>", report(tmp_path / "before.html", *runs))
    (runs[0] / name).write_bytes(b"\xff\xfe")
    with pytest.warns(UserWarning, match=f"damaged/{name}: it is not UTF-8"):
        text = report(tmp_path / "after.html", *runs)
    after = re.findall("<h2>(.*?)</h2>", text)
    assert {title.partition(" in which")[0] for title in before} <= {
        title.partition(" in which")[0] for title in after
    }
    for title in ("Costs", "Who holds which labels", "Participation", "Fairness among clients"):
        section = re.search(f"<h2>{title}</h2>.*?(<h2>|$)", text, re.DOTALL)[0]
        assert "<img" in section or "whole" in section


@pytest.mark.usefixtures("blank_pictures")
def test_a_damaged_request_costs_the_question_alone(make_run, tmp_path):
    runs = [make_run("one"), make_run("other", seed=1)]
    write_request(runs[1], "# Why runs differ.", [])
    (runs[0] / REQUEST_FILE).write_text("{}")
    with pytest.warns(UserWarning, match="one/request.json is damaged"):
        text = report(tmp_path / "report.html", *runs)
    assert "Why runs differ." in text


@pytest.mark.usefixtures("blank_pictures")
def test_seeds_are_repetitions_also_where_they_are_the_only_axis(make_run, tmp_path):
    content = {"axes": {"seed": ["seed0", "seed1"]}, "metrics": ["test_accuracy"], "runs": {}}
    for seed, final in enumerate((0.6, 0.7)):
        make_run(f"seed{seed}", (0.1, final), seed=seed)
        labels = {"labels": {"seed": f"seed{seed}"}, "directory": f"seed{seed}", "published": 64.5}
        content["runs"][f"seed{seed}"] = labels
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    (row,) = rows(
        re.search("<h2>Result</h2>.*?<h2>", report(tmp_path / "report.html", tmp_path), re.DOTALL)[0]
    )
    assert row == [
        f"{tmp_path.name} (2 seeds)",
        "65.00 ± 7.07",
        "65.00 ± 7.07",
        "64.5",
        "+0.50",
    ]


@pytest.mark.usefixtures("blank_pictures")
def test_rounds_that_a_seed_lacks_are_named(make_run, tmp_path):
    runs = [make_run("one", (0.1, 0.4, 0.6)), make_run("other", (0.1, None, 0.7), seed=1)]
    remark = "curves of 2 runs leave out round 1, which not all have measured (other)"
    with pytest.warns(UserWarning, match=re.escape(remark)):
        assert remark in report(tmp_path / "report.html", *runs)


@pytest.mark.usefixtures("blank_pictures")
def test_a_sweep_whose_file_names_no_metric_leads_with_the_accuracy_of_the_clients_own_models(sweep):
    content = json.loads((sweep / "sweep.json").read_text())
    for name, run in content["runs"].items():
        run["published"] = None
        if (metrics := sweep / name / "metrics.csv").is_file():
            pd.read_csv(metrics).assign(personal_accuracy=0.875).to_csv(metrics, index=False)
    (sweep / "sweep.json").write_text(json.dumps(content))
    write_report(sweep, make_console())
    assert (sweep / "table.md").read_text().startswith("final personal accuracy in %; mean")
    assert "87.50 ± 0.00" in report(sweep / "report.html", sweep)


def test_a_run_that_cannot_be_written_has_the_pictures_that_it_has(make_run, tmp_path, monkeypatch):
    run_dir = make_run()
    write_plots(run_dir)
    os.utime(run_dir / "metrics.csv", (2e9, 2e9))  # as where the run was copied: newer than its pictures

    def refuse(path):
        raise UserError("cannot write: Read-only file system")

    monkeypatch.setattr(report_sections, "write_plots", refuse)
    with pytest.warns(UserWarning, match="may be older than the run: cannot write"):
        text = report(tmp_path / "report.html", run_dir)
    assert "Left out" not in text
    assert text.count("<img") == 4  # curves, costs, labels, participation
