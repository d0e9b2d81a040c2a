"""The benchmarks: what counts as slower, and that the numbers on the pages are those that were measured.

``SK_GDLINEAR_REGRESSION=1`` also compares this commit with itself, which compiles it: about a minute.
"""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "benchmarks"
if not FOLDER.exists() or not (ROOT / "docs" / "benchmarks.md").exists():
    pytest.skip("the benchmarks are in the repository only", allow_module_level=True)

ROUNDS = 9
TWO_THRESHOLDS = {"warn": 1.10, "fail": 1.25}


@pytest.fixture
def benchmark(monkeypatch):
    """Function that imports a module of the benchmarks; afterwards all of them are forgotten."""
    monkeypatch.syspath_prepend(FOLDER)
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # which the scripts set, too
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "").parent == FOLDER:
            del sys.modules[name]


@pytest.fixture
def noise(rng):
    """Factors of a few percent, one for each round."""
    return lambda: np.exp(0.03 * rng.standard_normal(ROUNDS))


@pytest.mark.parametrize(("slowdown", "level"), [(0.8, "ok"), (1.0, "ok"), (1.18, "warn"), (1.5, "fail")])
def test_the_level_is_that_of_the_slowdown(benchmark, noise, slowdown, level):
    verdict = benchmark("regression_verdict").judge(noise(), slowdown * noise(), **TWO_THRESHOLDS)
    assert verdict.level == level
    assert verdict.low <= slowdown * 1.05 and verdict.high >= slowdown / 1.05


def test_what_disturbs_both_trees_alike_makes_no_difference(benchmark):
    drift = np.geomspace(1.0, 4.0, ROUNDS)
    verdict = benchmark("regression_verdict").judge(drift, drift, **TWO_THRESHOLDS)
    assert verdict == (1.0, 1.0, 1.0, "ok")
    slower = benchmark("regression_verdict").judge(drift, 1.5 * drift, **TWO_THRESHOLDS)
    assert slower[:3] == pytest.approx((1.5, 1.5, 1.5), rel=1e-12)


def test_a_ratio_that_may_be_noise_is_no_failure(benchmark):
    base, head = np.ones(ROUNDS), np.r_[np.full(4, 0.7), np.full(5, 1.6)]
    verdict = benchmark("regression_verdict").judge(base, head, **TWO_THRESHOLDS)
    assert verdict.ratio == 1.6 and verdict.low < 1.0
    assert verdict.level == "ok"


def test_the_ratio_of_all_cases_is_their_geometric_mean(benchmark):
    base = np.outer([1.0, 1e-3, 20.0], np.ones(ROUNDS))
    head = base * [[1.0], [8.0], [1.0]]
    verdict = benchmark("regression_verdict").judge(base, head, **TWO_THRESHOLDS)
    assert verdict.ratio == pytest.approx(2.0, rel=1e-12)
    assert verdict.level == "fail"


def test_what_base_lacks_is_not_judged_and_what_head_lacks_is_a_failure(benchmark):
    compare = benchmark("regression").compare
    fine, error = [1.0] * ROUNDS, ["TypeError: no such parameter"] * ROUNDS
    new = compare({"old": fine, "new": error}, {"old": fine, "new": fine}, **TWO_THRESHOLDS)
    gone = compare({"old": fine, "new": fine}, {"old": fine, "new": error}, **TWO_THRESHOLDS)
    assert [row["level"] for row in new[0]] == ["ok", "ok", "not judged"] and new[1] == "ok"
    assert [row["level"] for row in gone[0]] == ["ok", "ok", "fail"] and gone[1] == "fail"


@pytest.mark.parametrize(("slowdown", "code"), [(1.0, 0), (1.18, 0), (1.5, 1)])
def test_the_command_lets_the_trees_take_turns_and_exits_with_1_at_a_failure(
    benchmark, monkeypatch, capsys, slowdown, code
):
    regression, turns = benchmark("regression"), []

    def run_cases(tree, names):
        turns.append(tree)
        return {name: slowdown if tree == "head" else 1.0 for name in names}

    monkeypatch.setattr(regression, "make_trees", lambda base, head, parent: ("base", "head"))
    monkeypatch.setattr(regression, "run_cases", run_cases)
    monkeypatch.setattr(sys, "argv", ["regression.py", "--base", "HEAD", "--rounds", "3", "--only", "l1", "l2"])
    assert regression.main() == code
    assert turns == ["base", "head", "head", "base", "base", "head"]
    assert f"| geometric mean | {slowdown:.3f} " in capsys.readouterr().out


@pytest.mark.skipif("SK_GDLINEAR_REGRESSION" not in os.environ, reason="SK_GDLINEAR_REGRESSION is not set: a minute")
def test_a_commit_is_as_fast_as_itself():
    command = [sys.executable, "regression.py", "--base", "HEAD", "--head", "HEAD", "--only", "small fit"]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| small fit " in done.stdout


def results(times, gaps, fit=1.0):
    """What ``peers.py`` stores of one solver, of one run."""
    return {
        "shape": [10, 2],
        "rate": None,
        "epochs": list(range(1, len(times) + 1)),
        "seconds": [times],
        "gap": gaps,
        "fit seconds": [fit],
        "fit gap": 0.0,
        "extra bytes": 2e6,
    }


def test_a_line_of_the_figure_has_the_times_at_which_both_gaps_are_reached(benchmark):
    lines_of = benchmark("peers_plot").lines_of
    peers = {
        "GDLinearRegressor": results([1.0, 2.0, 3.0], [0.1, 1e-4, 1e-6], fit=2.5),
        "Ridge": results([4.0], [1e-3]),
        "river": results([5.0, 6.0], [0.5, 0.2]),
    }
    assert lines_of(peers) == [
        ("GDLinearRegressor", [2.0, 3.0]),
        ("its default fit", [2.5, 2.5]),
        ("Ridge", [4.0, None]),
        ("river", [None, None]),
    ]


def blocks():
    """Page, name and text of every block that is measured."""
    pages = (ROOT / "docs" / "benchmarks.md", ROOT / "README.md")
    found = re.compile(r"<!-- measured: ([\w ]+) -->\n\n(.*?)\n\n<!-- end of \1 -->", re.DOTALL)
    return [(page, name, text) for page in pages for name, text in found.findall(page.read_text(encoding="utf-8"))]


def test_every_table_that_is_made_has_its_place_and_every_place_its_table(benchmark):
    names = [name for _, name, _ in blocks()]
    assert sorted(names) == sorted([*benchmark("page_tables").TABLES, "runs"])


def test_no_table_of_the_benchmarks_is_written_by_hand():
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    for _, _, measured in blocks():
        text = text.replace(measured, "")
    assert [line for line in text.splitlines() if line.startswith("|")] == []
    times = re.findall(r"\d[\d.,]* ?(?:ms|µs|MB)\b|\b\d[\d.,]* times\b", text)
    assert times == [], "numbers of a measurement belong into a table that is measured"


def test_the_pages_show_what_is_stored(benchmark):
    page = benchmark("page")
    stored = page.stored(page.RESULTS)
    for path in page.PAGES:
        text = path.read_text(encoding="utf-8")
        assert page.filled(text, stored) == text, f"python benchmarks/page.py --no-run writes {path.name}"


def test_a_run_fills_its_tables_and_leaves_those_of_others(benchmark):
    page = benchmark("page")
    text = "".join(
        f"<!-- measured: {name} -->\n\nold\n\n<!-- end of {name} -->\n" for name in ("memory of kinds", "cores", "runs")
    )
    kinds = [{"input": "C order", "X MB": 160.0, "extra MB": 10.25, "% of X": 6.4}]
    environment = {"commit": "0123456789", "date": "2026-01-31", "cpu": "a processor", "cores": 2, "memory": "8 GB"}
    environment |= {"BLAS threads": "1", "numpy": "2.0.0", "minutes": 3.2}
    filled = page.filled(text, {"memory": {"environment": environment, "kinds": kinds}})
    assert re.search(r"\| C order \| 160 +\| 10.2 ", filled)
    assert "<!-- measured: cores -->\n\nold\n\n<!-- end of cores -->" in filled
    assert re.search(r"\| `memory.py` \| 3 +\| 0123456789 \| 2026-01-31 \| a processor, 2 cores, 8 GB \|", filled)
    assert "Versions of all: numpy 2.0.0." in filled


def test_what_is_stored_is_read_back(benchmark, tmp_path):
    page = benchmark("page")
    figures = {"environment": {"cores": 2}, "kinds": [{"input": "µ", "ms": 1.23456789, "gap": float("inf"), "n": 3}]}
    page.store("memory", figures, tmp_path)
    assert page.stored(tmp_path) == {
        "memory": {"environment": {"cores": 2}, "kinds": [{"input": "µ", "ms": 1.23457, "gap": float("inf"), "n": 3}]}
    }


def test_a_tree_with_changed_code_is_marked(benchmark, tmp_path, monkeypatch):
    report = benchmark("report")
    monkeypatch.setattr(report, "ROOT", tmp_path)
    monkeypatch.delenv("BENCHMARK_COMMIT", raising=False)
    assert report.commit() == "unknown"

    def git(*arguments):
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    try:
        git("init", "--quiet")
    except FileNotFoundError:
        pytest.skip("git is not installed")
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "README.md").write_text("")
    git("add", ".")
    git("commit", "--quiet", "--message", "a")
    head = git("rev-parse", "--short=10", "HEAD")
    (tmp_path / "README.md").write_text("a page")  # which is no code
    assert report.commit() == head
    (tmp_path / "pyproject.toml").write_text("# changed")
    assert report.commit() == f"{head} with changes"


def test_results_are_small_enough_to_be_kept():
    sizes = {path.name: path.stat().st_size for path in (FOLDER / "results").glob("*.json")}
    assert {name: size for name, size in sizes.items() if size > 500_000} == {}
    assert all("environment" in json.loads((FOLDER / "results" / name).read_text(encoding="utf-8")) for name in sizes)
