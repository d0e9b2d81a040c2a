"""What the benchmark scripts share: the heading, markdown tables, paired timing, JSON."""

import datetime
import importlib.util
import json
import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

PACKAGES = ("numpy", "scipy", "scikit-learn")
OPTIONAL = (
    "celer", "dask", "dask-ml", "pyarrow", "river", "scikit-learn-intelex", "skglm", "torch", "vowpalwabbit",
)  # fmt: skip
ROOT = Path(__file__).resolve().parent.parent
MEASURED_CODE = ("sk_gdlinear", "benchmarks/*.py", "pyproject.toml")  # changes elsewhere do not make a tree "changed"


def _cpu_model():
    """Name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory():
    """Memory of the machine as text."""
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB"
    except (AttributeError, ValueError):  # Windows has no such call
        return "unknown"


def _git(*arguments):
    """What git prints, None where there is no git or no repository."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def commit():
    """The commit that is measured, as text; "with changes" if its code is not what lies in the tree.

    ``BENCHMARK_COMMIT`` says it where the tree came without its history.
    """
    if "BENCHMARK_COMMIT" in os.environ:
        return os.environ["BENCHMARK_COMMIT"]
    found = _git("rev-parse", "--short=10", "HEAD")
    if found is None:
        return "unknown"
    return f"{found} with changes" if _git("status", "--porcelain", "--", *MEASURED_CODE) else found


def _own_version():
    """Version of sk_gdlinear, and whether its compiled kernels are there."""
    try:
        number = version("sk_gdlinear")
    except PackageNotFoundError:
        number = "not installed"
    compiled = importlib.util.find_spec("sk_gdlinear._kernels.dense") is not None
    return f"{number} ({'compiled kernels' if compiled else 'reference implementation only'})"


def _installed(package):
    """Whether there is a package of this name."""
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def environment(*packages):
    """Commit, date, machine, versions (also of `packages`) and threads of this run."""
    return {
        "commit": commit(),
        "date": datetime.date.today().isoformat(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory": _memory(),
        "BLAS threads": os.environ.get("OPENBLAS_NUM_THREADS", "not set"),
        "python": platform.python_version(),
        **{name: version(name) for name in (*PACKAGES, *packages)},
        "sk_gdlinear": _own_version(),
    }


def heading(title, *packages):
    """Title and environment as markdown."""
    pairs = ", ".join(f"{name} {value}" for name, value in environment(*packages).items())
    return f"# {title}\n\n{pairs}\n"


def table(rows):
    """Markdown table of a list of dicts that share their keys."""
    columns = list(rows[0])
    cells = [columns, *([_cell(row[name]) for name in columns] for row in rows)]
    widths = [max(len(line[j]) for line in cells) for j in range(len(columns))]
    lines = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines) + "\n"


def _cell(value):
    """Short text of one value: three digits, thousands separated."""
    if value is None:
        return "–"
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.3g}"
    return str(value)


def milliseconds(call, clock=time.perf_counter):
    """Wall time of one call, or what another clock says."""
    start = clock()
    call()
    return 1e3 * (clock() - start)


def interleaved(calls, n_runs, clock=time.perf_counter):
    """Milliseconds of every call in `calls` (a dict), shape (n_runs,) each, taken in turn after a warm-up."""
    for call in calls.values():
        call()
    times = {name: np.empty(n_runs) for name in calls}
    for run in range(n_runs):
        for name, call in calls.items():
            times[name][run] = milliseconds(call, clock)
    return times


def spread(values, digits=1):
    """Smallest and largest value as text."""
    return f"{np.min(values):.{digits}f}–{np.max(values):.{digits}f}"


def write_json(path, **tables):
    """Store the environment, with the versions of all peers that are installed, and the rows of every table."""
    content = {"environment": environment(*filter(_installed, OPTIONAL)), **tables}
    Path(path).write_text(json.dumps(content, indent=1, ensure_ascii=False, default=float) + "\n")
