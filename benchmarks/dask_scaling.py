"""A Dask cluster of two single-threaded workers beside one core: time, accuracy, traffic.

``python benchmarks/dask_scaling.py`` fits 4,000,000 × 50 in memory and on the cluster, and dask-ml's estimators there.
``--workers 1 2 4 8 16`` fits them on clusters of as many workers instead, on a machine with as many cores.
Traffic is what the workers sent, by their own counters.
"""

import argparse
import time
import warnings

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, wait

from report import heading, interleaved, table, write_json
from sk_gdlinear import GDLinearRegressor
from sk_gdlinear.dask import DaskGDLinearRegressor

WORKERS, PARTITIONS_PER_WORKER = 2, 4
ONE, FOUR = (dict(max_iter=n, tol=None, random_state=0) for n in (1, 4))  # rounds, whose difference is three
FEATURES = (
    {"penalty": "l2", "alpha": 0.1},
    {"penalty": "l1", "alpha": 0.03},
    {"penalty": "elasticnet", "alpha": 0.1},
    {"positive": True},
    {"loss": "huber"},
    {"loss": "huber", "penalty": "l1", "alpha": 0.01},
    {"loss": "quantile"},
)
ORDERS = ("alike", "sorted by y", "one category each")


def make_part(number, parts, n, d, order):
    """Rows of one of ``parts`` partitions, target last: normal columns, R² of the truth 0.8.

    Partitions are alike, or cover each its own range of the target, or hold one category each, with a column for it.
    """
    rng = np.random.default_rng([number, n])
    X = rng.standard_normal((n, d))
    coef = np.random.default_rng(0).standard_normal(d)
    coef /= np.linalg.norm(coef)
    if order == "one category each":
        X[:, :parts] = np.arange(parts) == number
        coef[:parts] = 2.0 * np.arange(parts) / parts
    y = X @ coef + 0.5 * rng.standard_normal(n)
    if order == "sorted by y":
        # Shift the rows along the coefficients so that y is uniform over this partition's share of a normal range.
        levels = np.linspace(-1.9, 1.9, parts + 1)
        wanted = rng.uniform(levels[number], levels[number + 1], n)
        X += 0.8 * (wanted - y)[:, None] * coef
        y = wanted
    return np.column_stack([X, y])


def on_cluster(client, n, d, order):
    """X and y, made where they stay."""
    parts = len(client.nthreads()) * PARTITIONS_PER_WORKER
    blocks = [
        da.from_delayed(_delayed(i, parts, n // parts, d, order), (n // parts, d + 1), float) for i in range(parts)
    ]
    whole = client.persist(da.concatenate(blocks))
    wait(whole)  # so that X and y settle where it lies
    X, y = client.persist([whole[:, :-1].map_blocks(np.ascontiguousarray), whole[:, -1].map_blocks(np.copy)])
    wait([X, y])
    return X, y


def _delayed(*args):
    from dask import delayed

    return delayed(make_part)(*args)


def in_memory(n, d, order):
    """The same X and y here."""
    parts = WORKERS * PARTITIONS_PER_WORKER
    X, y = np.empty((n, d)), np.empty(n)
    for i, rows in enumerate(np.split(np.arange(n), parts)):
        part = make_part(i, parts, n // parts, d, order)
        X[rows], y[rows] = part[:, :-1], part[:, -1]
    return X, y


def exact_r2(X, y):
    """R² of least squares, from the moments."""
    centred, target = X - X.mean(axis=0), y - y.mean()
    coef = np.linalg.lstsq(centred.T @ centred, centred.T @ target, rcond=1e-10)[0]
    return 1.0 - np.square(target - centred @ coef).sum() / np.square(target).sum()


def traffic(client, call):
    """Bytes that workers send, to each other and to the client, while ``call`` runs."""

    def sent():
        return sum(client.run(lambda dask_worker: dask_worker.transfer_outgoing_bytes_total).values())

    before = sent()
    call()
    return sent() - before


def partitionings(client, n, d):
    """Rounds, R² and traffic where partitions are alike and where they are not."""
    rows = []
    for order in ORDERS:
        X, y = in_memory(n, d, order)
        exact, local = exact_r2(X, y), GDLinearRegressor(random_state=0).fit(X, y)
        data = on_cluster(client, n, d, order)
        model = DaskGDLinearRegressor(random_state=0)
        whole = traffic(client, lambda model=model, data=data: model.fit(*data))
        first, later = traffic_by_round(client, data)
        rows.append(
            {
                "partitions": order,
                "rows × columns": f"{n:,} × {d}",
                "rounds": model.n_iter_,
                "R² exact": f"{exact:.6f}",
                "R² in memory": f"{local.score(X, y):.6f}",
                "R² on the cluster": f"{model.to_local().score(X, y):.6f}",
                "bytes sent in the first round": first,
                "bytes sent in each further round": later,
                "in the whole first fit": whole,
            }
        )
    return rows


def traffic_by_round(client, data, **params):
    """Bytes that workers send in a fit of one round, the statistics included, and in each of the two further rounds."""
    sent = [
        traffic(client, lambda n=n: DaskGDLinearRegressor(max_iter=n, tol=None, random_state=0, **params).fit(*data))
        for n in (1, 1, 3)  # in the first fit Dask may move partitions
    ]
    return sent[1], (sent[2] - sent[1]) / 2


def features(client, n, d):
    """Rounds, the gap to a tight fit in memory, and traffic, for penalties and robust losses."""
    rows = []
    for order in ORDERS[:2]:
        X, y = in_memory(n, d, order)
        data = on_cluster(client, n, d, order)
        for params in FEATURES:
            model = DaskGDLinearRegressor(random_state=0, **params).fit(*data)
            tight = GDLinearRegressor(random_state=0, tol=1e-10, **params).fit(X, y)
            first, later = traffic_by_round(client, data, **params)
            values = [objective(fit, X, y, params) for fit in (model.to_local(), tight)]
            rows.append(
                {
                    "partitions": order,
                    "parameters": ", ".join(map(str, params.values())) if "positive" not in params else "positive",
                    "rounds": model.n_iter_,
                    "gap": values[0] / values[1] - 1.0,
                    "bytes sent in the first round": first,
                    "bytes sent in each further round": later,
                }
            )
    return rows


def objective(model, X, y, params):
    """The objective of the parameters of ``FEATURES``."""
    e = model.predict(X) - y
    if params.get("loss") == "huber":
        value = np.where(np.abs(e) <= 1.35, 0.5 * e * e, 1.35 * (np.abs(e) - 0.675)).mean()
    elif params.get("loss") == "quantile":
        value = 0.5 * np.abs(e).mean()
    else:
        value = 0.5 * np.square(e).mean()
    share = {"l1": 1.0, "elasticnet": 0.15, "l2": 0.0, None: 0.0}[params.get("penalty")]
    penalty = share * np.abs(model.coef_).sum() + 0.5 * (1.0 - share) * np.square(model.coef_).sum()
    return value + params.get("alpha", 0.0) * penalty


def speed(client, n, d, n_runs):
    """Total times, side by side, and the time of one more round or epoch."""
    from dask_ml.linear_model import LinearRegression
    from dask_ml.wrappers import Incremental

    (X, y), data = in_memory(n, d, "alike"), on_cluster(client, n, d, "alike")
    exact = exact_r2(X, y)
    models = {
        "GDLinearRegressor, one core": (GDLinearRegressor, (X, y)),
        "DaskGDLinearRegressor, 2 workers": (DaskGDLinearRegressor, data),
    }
    calls, fitted = {}, {}
    for name, (kind, rows) in models.items():
        calls[name] = lambda name=name, kind=kind, rows=rows: fitted.update({name: kind(random_state=0).fit(*rows)})
        calls[name, 1] = lambda kind=kind, rows=rows: kind(**ONE).fit(*rows)
        calls[name, 4] = lambda kind=kind, rows=rows: kind(**FOUR).fit(*rows)
    others = {
        "Incremental(GDLinearRegressor())": lambda: Incremental(GDLinearRegressor(random_state=0)).fit(*data),
        "dask_ml LinearRegression(solver='lbfgs')": lambda: LinearRegression(solver="lbfgs").fit(*data),
    }
    times = interleaved(calls, n_runs)
    rows = []
    for name in models:
        total, epoch = np.median(times[name]), np.median(times[name, 4] - times[name, 1]) / 3
        rows.append(_row(name, total / 1e3, fitted[name].n_iter_, epoch / 1e3, fitted[name], X, y, exact))
    for name, call in others.items():
        start = time.perf_counter()
        model = call()
        rows.append(_row(name, time.perf_counter() - start, None, None, model, X, y, exact))
    for row in rows:
        row["times one core's speed"] = rows[0]["seconds"] / row["seconds"]
        row["efficiency"] = row["times one core's speed"] / (1 if row is rows[0] else WORKERS)
    return rows


def growth(counts, n, d, n_runs):
    """Time and traffic of the same fit on clusters of more and more workers, beside one core."""
    X, y = in_memory(n, d, "alike")
    local = np.median(interleaved({"": lambda: GDLinearRegressor(random_state=0).fit(X, y)}, n_runs)[""])
    rows = []
    for count in counts:
        with _cluster(count) as cluster, Client(cluster) as client:
            data = on_cluster(client, n, d, "alike")
            calls = {
                name: lambda options=options, data=data: DaskGDLinearRegressor(**options).fit(*data)
                for name, options in {"fit": dict(random_state=0), 1: ONE, 4: FOUR}.items()
            }
            times = interleaved(calls, n_runs)
            rows.append(
                {
                    "workers": count,
                    "seconds": np.median(times["fit"]) / 1e3,
                    "seconds each round": np.median(times[4] - times[1]) / 3e3,
                    "bytes sent per round": (traffic(client, calls[4]) - traffic(client, calls[1])) / 3,
                    "times one core's speed": local / np.median(times["fit"]),
                }
            )
    return rows


def _cluster(n_workers):
    return LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=":0")


def _row(name, seconds, rounds, each, model, X, y, exact):
    coef, intercept = np.ravel(model.coef_), float(np.ravel(getattr(model, "intercept_", 0.0))[0])
    residual = y - X @ coef[: X.shape[1]] - intercept
    excess = exact - (1.0 - np.square(residual).sum() / np.square(y - y.mean()).sum())
    return {"estimator": name, "seconds": seconds, "epochs": rounds, "seconds each": each, "below exact R²": excess}


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=4_000_000, help="of the table of times")
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--runs", type=int, default=3, help="timed runs per fit")
    parser.add_argument("--workers", type=int, nargs="+", metavar="N", help="clusters of as many workers, nothing else")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    parser.add_argument("--quick", action="store_true", help="80,000 rows, one run")
    args = parser.parse_args()
    if args.quick:
        args.rows, args.runs = 80_000, 1
    warnings.simplefilter("ignore")
    if args.workers:
        print(heading("Clusters of more and more workers beside one core"))
        results = {"growth": growth(args.workers, args.rows, args.columns, args.runs)}
        print(table(results["growth"]))
    else:
        print(heading("A cluster of two workers beside one core"))
        with _cluster(WORKERS) as cluster, Client(cluster) as client:
            results = {"partitionings": partitionings(client, args.rows // 4, args.columns)}
            print(table(results["partitionings"]))
            results["features"] = features(client, args.rows // 16, args.columns)
            print(table(results["features"]))
            results["speed"] = speed(client, args.rows, args.columns, args.runs)
            print(table(results["speed"]))
    if args.json:
        write_json(args.json, **results)


if __name__ == "__main__":
    main()
