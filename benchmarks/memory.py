"""Peak extra memory of one fit, measured in a process of its own.

``python benchmarks/memory.py`` prints a table of all kinds of input, ``--quick`` of small ones; ``python
benchmarks/memory.py 1000000 20 float64 memmap`` the bytes above those held before ``fit`` for one.
"""

import argparse
import ctypes
import gc
import importlib.util
import resource
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from report import heading, table, write_json

STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _status_bytes(name):
    """One memory figure of /proc/self/status, None where there is none."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(name + ":")), None)


def _peak_bytes():
    """Most resident memory since the last reset (or since the start)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return _status_bytes("VmHWM") or unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _reset_peak():
    """Set the high-water mark to the present size where the system allows it."""
    try:
        CLEAR_REFS.write_text("5")
    except OSError:
        pass  # the mark then stands at the size of the data: made in place, it left no higher peak


def _data(n, d, dtype):
    """Normal columns and a noisy target, made without a temporary array of their size."""
    rng = np.random.default_rng(0)
    X = np.empty((n, d), dtype=dtype)
    rng.standard_normal(out=X, dtype=X.dtype)
    y = X @ rng.standard_normal(d).astype(dtype)
    y += rng.standard_normal(n, dtype=X.dtype)
    return X, y


def _return_free_memory():
    """Give freed memory back to the system: to use it again would not show."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it
    if trim is not None:
        trim(0)


def peak_extra(call):
    """Bytes of the peak during `call` above the size before it, in this process."""
    _return_free_memory()
    _reset_peak()
    before = _status_bytes("VmRSS") or _peak_bytes()
    call()
    return max(_peak_bytes() - before, 0)


def in_child(*command):
    """Integer that a Python script prints, run in a fresh process."""
    arguments = [sys.executable, "-W", "ignore", *map(str, command)]
    return int(subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _read_only(X):
    X.flags.writeable = False
    return X


def _memmap(X):
    with tempfile.NamedTemporaryFile() as file:
        X.tofile(file)
        mapped = np.memmap(file.name, dtype=X.dtype, mode="r", shape=X.shape)
    mapped.sum()  # its pages are in memory before the count begins, as the other kinds are
    return mapped


def _frame(library, X):
    frames = importlib.import_module(library)
    return frames.DataFrame({f"x{j}": X[:, j].copy() for j in range(X.shape[1])})


def _csr(X):
    """A tenth of the entries."""
    X[np.arange(X.size).reshape(X.shape) % 10 != 0] = 0.0
    return csr_array(X)


FRAMES = ("pandas", "polars")
KINDS = {
    "C order": lambda X: X,
    "read-only": _read_only,
    "memmap": _memmap,
    "Fortran order": np.asfortranarray,
    **{library: partial(_frame, library) for library in FRAMES},
    "CSR": _csr,
}


def extra_bytes(n, d, dtype, kind="C order"):
    """Peak extra memory of a fit, after a small one has loaded all code."""
    from sk_gdlinear import GDLinearRegressor

    X, y = _data(1000, d, dtype)
    GDLinearRegressor(max_iter=2, tol=None, random_state=0).fit(KINDS[kind](X), y)
    X, y = _data(n, d, dtype)
    X = KINDS[kind](X)
    return peak_extra(lambda: GDLinearRegressor(random_state=0).fit(X, y))


def rows(shapes):
    """Table rows for every shape, in both precisions."""
    result = []
    for n, d in shapes:
        for dtype in ("float64", "float32"):
            size, extra = n * d * np.dtype(dtype).itemsize, in_child(__file__, n, d, dtype)
            result.append(
                {
                    "rows × columns": f"{n:,} × {d:,}",
                    "dtype": dtype,
                    "X MB": size / 1e6,
                    "extra MB": extra / 1e6,
                    "% of X": 100 * extra / size,
                }
            )
    return result


def is_installed(kind):
    """Whether what makes this kind of input is there."""
    return kind not in FRAMES or importlib.util.find_spec(kind) is not None


def kind_rows(n, d=20):
    """Table rows for every kind of input, float64."""
    result = []
    for kind in filter(is_installed, KINDS):
        size, extra = n * d * (1.2 if kind == "CSR" else 8), in_child(__file__, n, d, "float64", kind)
        result.append({"input": kind, "X MB": size / 1e6, "extra MB": extra / 1e6, "% of X": 100 * extra / size})
    return result


def main():
    """Run for one kind of input, or print the table of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="50,000 rows")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    parser.add_argument("one", nargs="*", metavar="ROWS COLUMNS DTYPE KIND", help="print the bytes of this one fit")
    args = parser.parse_args()
    if args.one:
        print(extra_bytes(int(args.one[0]), int(args.one[1]), *args.one[2:]))
        return
    print(heading("Peak extra memory of a fit, by kind of input"))
    for kind in KINDS:
        if not is_installed(kind):
            print(f"{kind}: not installed, left out")
    found = kind_rows(50_000 if args.quick else 1_000_000)
    print(table(found))
    if args.json:
        write_json(args.json, kinds=found)


if __name__ == "__main__":
    main()
