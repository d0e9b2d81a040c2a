"""Fits of rows in the memory of a GPU, beside PyTorch, cuML and all cores of the machine.

``python benchmarks/gpu.py`` prints a markdown table for each shape; it says so where PyTorch sees no GPU, and then runs
small shapes on PyTorch's CPU, as ``--quick`` does.  It needs numpy, scipy, scikit-learn and torch; the package need not
be installed.  A contender that fails is named with its error.  Times are medians in seconds, the data already on the
device; the excess is the share of the variance of y that is left to gain, from the exact answer in float64.
"""

import os

os.environ["SCIPY_ARRAY_API"] = "1"  # before scipy is imported: scikit-learn dispatches arrays only with it

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parent.parent))  # behind an installed package

import sklearn
from sklearn.linear_model import Ridge

from report import heading, table, write_json
from sk_gdlinear import GDLinearRegressor

SHAPES = [(10_000_000, 100), (1_000_000, 1_000)]
QUICK_SHAPES = [(50_000, 20), (5_000, 200)]
BLOCK_ROWS = 100_000  # rows of the exact answer at once
CONTENDER_SECONDS = 15.0  # no further run of a contender that has taken so long

# The loop in PyTorch, on columns standardized for it: the largest step that is stable there, and a smaller one at last.
SGD_BATCH_ROWS = 16_384
SGD_STEPS = (0.3, 0.03, 0.003)  # one per epoch


class Data:
    """Rows with offsets and several scales, made on the device, and the exact answer for them."""

    def __init__(self, torch, device, n, d):
        self.torch, self.device, self.n, self.d = torch, device, n, d
        generator = torch.Generator(device).manual_seed(0)
        options = dict(device=device, dtype=torch.float32, generator=generator)
        self.X = torch.randn(n, d, **options)
        self.X *= torch.logspace(-1.0, 1.0, d, device=device)
        self.X += torch.linspace(-5.0, 5.0, d, device=device)
        weights = torch.randn(d, **options) / torch.logspace(-1.0, 1.0, d, device=device)
        self.y = torch.empty(n, device=device)
        for rows in self.blocks():
            self.y[rows] = self.X[rows] @ weights + d**0.5 * torch.randn(len(self.X[rows]), **options)
        self.coef, self.intercept = self._exact()

    def blocks(self):
        """Slices of rows."""
        return [slice(start, start + BLOCK_ROWS) for start in range(0, self.n, BLOCK_ROWS)]

    def _exact(self):
        """Least squares in float64, from the second moments of centred rows."""
        torch = self.torch
        means = [sum(a[rows].double().sum(0) for rows in self.blocks()) / self.n for a in (self.X, self.y)]
        H = torch.zeros(self.d, self.d, dtype=torch.float64, device=self.device)
        c = torch.zeros(self.d, dtype=torch.float64, device=self.device)
        for rows in self.blocks():
            Z, e = self.X[rows].double() - means[0], self.y[rows].double() - means[1]
            H, c = H + Z.T @ Z, c + Z.T @ e
        coef = torch.linalg.solve(H, c)
        return coef, means[1] - coef @ means[0]

    def errors(self, coef, intercept):
        """Mean squared error of coefficients of any kind, in float64."""
        torch = self.torch
        coef, intercept = (torch.as_tensor(a, dtype=torch.float64, device=self.device) for a in (coef, intercept))
        total = sum(
            ((self.X[rows].double() @ coef.ravel() + intercept.ravel() - self.y[rows]) ** 2).sum()
            for rows in self.blocks()
        )
        return float(total) / self.n

    def excess(self, coef, intercept):
        """The share of the variance of y that these coefficients leave to gain."""
        return (self.errors(coef, intercept) - self.errors(self.coef, self.intercept)) / float(self.y.double().var())


def ours(data, **params):
    """A fit in scikit-learn's array API mode."""
    with sklearn.config_context(array_api_dispatch=True):
        model = GDLinearRegressor(random_state=0, **params).fit(data.X, data.y)
    return model.coef_, model.intercept_


def lstsq(data):
    """``torch.linalg.lstsq`` on centred rows."""
    torch, mean, mean_y = data.torch, data.X.mean(0), data.y.mean()
    coef = torch.linalg.lstsq(data.X - mean, (data.y - mean_y)[:, None]).solution[:, 0]
    return coef, mean_y - coef @ mean


def normal_equations(data):
    """The normal equations in the precision of the data, as one would write them in four lines."""
    torch, mean, mean_y = data.torch, data.X.mean(0), data.y.mean()
    Z = data.X - mean
    coef = torch.linalg.solve(Z.T @ Z, Z.T @ (data.y - mean_y))
    return coef, mean_y - coef @ mean


def sgd(data):
    """A loop over ``torch.optim.SGD`` on standardized rows, which it needs."""
    torch = data.torch
    mean, std, mean_y, std_y = data.X.mean(0), data.X.std(0), data.y.mean(), data.y.std()
    Z, t = (data.X - mean) / std, ((data.y - mean_y) / std_y)[:, None]
    model = torch.nn.Linear(data.d, 1, device=data.device)
    torch.nn.init.zeros_(model.weight)
    optimizer, loss = torch.optim.SGD(model.parameters(), lr=SGD_STEPS[0]), torch.nn.MSELoss()
    for step in SGD_STEPS:
        optimizer.param_groups[0]["lr"] = step
        for rows in torch.randperm(data.n, device=data.device).split(SGD_BATCH_ROWS):
            optimizer.zero_grad(set_to_none=True)
            (0.5 * loss(model(Z[rows]), t[rows])).backward()
            optimizer.step()
    coef = (model.weight[0] * std_y / std).detach()
    return coef, (mean_y + std_y * model.bias[0]).detach() - coef @ mean


def cuml(data, name, **params):
    """A regressor of cuML."""
    import cuml.linear_model as peers
    import cupy

    X, y = cupy.from_dlpack(data.X), cupy.from_dlpack(data.y)
    model = getattr(peers, name)(output_type="numpy", **params).fit(X, y)
    return np.asarray(model.coef_, dtype=np.float64), np.asarray(model.intercept_, dtype=np.float64)


def contenders(data, on_gpu):
    """The calls to time, by name."""
    calls = {
        "GDLinearRegressor()": lambda: ours(data),
        "GDLinearRegressor(penalty='l1')": lambda: ours(data, penalty="l1", alpha=1e-3),
        "GDLinearRegressor('huber')": lambda: ours(data, loss="huber", epsilon=1.35 * data.d**0.5),
        "GDLinearRegressor(precondition=False, max_iter=2)": lambda: ours(
            data, precondition=False, max_iter=2, tol=None
        ),
        "torch.linalg.lstsq": lambda: lstsq(data),
        "torch, normal equations": lambda: normal_equations(data),
        f"torch.optim.SGD, {len(SGD_STEPS)} epochs": lambda: sgd(data),
    }
    if on_gpu:
        calls |= {
            "cuML LinearRegression": lambda: cuml(data, "LinearRegression"),
            "cuML MBSGDRegressor": lambda: cuml(data, "MBSGDRegressor", batch_size=1024),
        }
    return calls


def cpu_contenders(data):
    """The calls on all cores of the machine, on the same rows in its memory."""
    X, y = data.X.cpu().numpy(), data.y.cpu().numpy()

    def parameters(model):
        model.fit(X, y)
        return model.coef_, model.intercept_

    calls = {"Ridge(solver='cholesky') on all cores": lambda: parameters(Ridge(1e-6, solver="cholesky"))}
    all_cores = {"n_jobs": -1} if "n_jobs" in GDLinearRegressor().get_params() else {}
    name = "GDLinearRegressor(n_jobs=-1) on all cores" if all_cores else "GDLinearRegressor() on one core"
    if any((Path(__file__).parent.parent / "sk_gdlinear" / "_kernels").glob("dense.*so")):
        calls[name] = lambda: parameters(GDLinearRegressor(random_state=0, **all_cores))
    else:
        print(f"{name} is left out: the kernels are not compiled here.\n")
    return calls


def measure(name, call, data, n_runs, on_gpu, warm_up=True):
    """One table row, or None after an error."""
    torch, times, memory = data.torch, [], None
    try:
        for run in range(n_runs + warm_up):
            if on_gpu:
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
            began = time.perf_counter()
            parameters = call()
            if on_gpu:
                torch.cuda.synchronize()
                memory = (torch.cuda.max_memory_allocated() - before) / 1e9
            times.append(time.perf_counter() - began)
            if sum(times) > CONTENDER_SECONDS:
                break
            if warm_up and run == 0:
                times.clear()
        excess = data.excess(*parameters)
    except Exception as error:
        print(f"{name} failed: {type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}\n")
        return None
    finally:
        if on_gpu:
            torch.cuda.empty_cache()
    return {
        "model": name,
        "seconds": float(np.median(times)),
        "min–max": f"{min(times):.3g}–{max(times):.3g}",
        "runs": len(times),
        "excess": excess,
        "GB beside X": memory,
    }


def rows_of(torch, device, shape, n_runs, cpu):
    """The rows of the table of one shape."""
    on_gpu, rows = device != "cpu", []
    data = Data(torch, device, *shape)
    for name, call in contenders(data, on_gpu).items():
        rows.append(measure(name, call, data, n_runs, on_gpu))
    if cpu:
        for name, call in cpu_contenders(data).items():
            rows.append(measure(name, call, data, 1, False, warm_up=False))
    rows = [row for row in rows if row is not None]
    for row in rows:  # how many times the first one's time
        row["ratio"] = row["seconds"] / rows[0]["seconds"]
    return rows


def parse_args():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small shapes on PyTorch's CPU, few runs")
    parser.add_argument("--runs", type=int, help="runs per contender (default 3, quick 2)")
    parser.add_argument("--no-cpu", action="store_true", help="without the contenders on all cores")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    return parser.parse_args()


def main():
    """Print the tables."""
    args = parse_args()
    warnings.simplefilter("ignore")  # peers on raw data, and kernels that are not compiled here
    try:
        import torch
    except ImportError:
        print("PyTorch is not installed: nothing to measure. pip install torch")
        return
    quick = args.quick or not torch.cuda.is_available()
    device = "cpu" if quick else "cuda"
    print(heading("Arrays on a GPU", "torch"))
    if quick:
        why = "as asked by --quick" if args.quick else "PyTorch sees no GPU"
        print(f"{why}: small shapes on PyTorch's CPU, which say nothing about a GPU.\n")
    else:
        properties = torch.cuda.get_device_properties(0)
        print(f"Device: {properties.name}, {properties.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}.\n")
    results = {}
    for n, d in QUICK_SHAPES if quick else SHAPES:
        began = time.perf_counter()
        try:
            rows = rows_of(torch, device, (n, d), args.runs or (2 if quick else 3), not args.no_cpu)
        except Exception as error:
            print(f"{n:,} × {d:,} failed: {type(error).__name__}: {error}\n")
            continue
        title = f"{n:,} × {d:,} float32"
        results[title] = rows
        print(f"## {title}\n\n{table(rows)}\n{time.perf_counter() - began:.0f} s in all.\n", flush=True)
        if device != "cpu":
            torch.cuda.empty_cache()
    if args.json:
        write_json(args.json, **results)


if __name__ == "__main__":
    main()
