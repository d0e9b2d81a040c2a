"""Nearly collinear columns: time and gap of the default settings, beside those who solve the same problem.

``python benchmarks/conditioning.py`` prints markdown tables; ``--only tables small`` prints these sections, ``--quick``
takes little data.  Sections:

- ``rows``: polynomials, products and splines of diamonds, 96 oils, house prices, a spectrum, start and end of trips;
- ``tables``: every table with a numeric target in R's packages datasets, MASS, carData, AER, ggplot2 and plm, one-hot,
  standardized and raw, without a penalty and with each, beside scikit-learn's estimator at its defaults;
- ``expansions``: polynomials and splines of other data, and of diamonds, with penalties;
- ``lowrank``: "l1" on low-rank data, everyone to a gap of 1e-6;
- ``robust``: "huber" and "quantile", beside HuberRegressor and QuantileRegressor;
- ``small``: 442 × 10 and 1,000 × 20, beside Ridge;
- ``wide``: more columns than a matrix of them is made for, dense and sparse, and "l1" that leaves many coefficients.

The gap is the objective less its smallest value (``exact_optima.py``), in units of the objective of the best constant,
which is the scale of ``tol``: without a penalty, R² of exact least squares minus R².  The "gap to promise" is that to
least squares in which singular values below 1e-6 of the largest (of scaled columns) count as 0, for no more is
promised; with a penalty both are the same.  All run in turn in one process on one thread; times are medians, but a fit
of more than half a second is made once.  "warned" has the categories of warnings.  ``conditioning_problems.py`` says
who minimises what.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["NUMBA_NUM_THREADS"] = "1"

import argparse
import sys
from functools import partial
from itertools import islice

import numpy as np
from sklearn.linear_model import HuberRegressor, QuantileRegressor, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import conditioning_data
import data
import exact_optima
from conditioning_problems import OPTIONAL, OURS, Problem, figures, installed, measure, warm_up
from report import heading, table, write_json
from sk_gdlinear import GDLinearRegressor

TOL = GDLinearRegressor().tol
WANTED_GAP = 1e-6  # of the low-rank section
LASSO_EPOCHS = 10_000  # of Lasso there: its 1,000 are too few for that gap
TOLERANCES = np.geomspace(1e-3, 1e-10, 8)
CERTAIN = 1e-7  # distance of the best value from its bound, in units of the null objective
QUICK_SHARE = 24  # every so many of the tables of R
WORST_SHOWN = 25
# Penalty, strength, positive, of every table
VARIANTS = (
    (None, None, False),
    *((penalty, strength, False) for penalty in ("l2", "l1", "elasticnet") for strength in (0.1, 0.001)),
    (None, None, True),
    *(("l1", strength, True) for strength in (0.1, 0.001)),
)


def progress(text):
    """Say on stderr what is measured."""
    print(text, file=sys.stderr, flush=True)


def compare(problem, n_runs, without=()):
    """Rows of all estimators on one problem."""
    progress(f"{problem.name}, {problem.label}")
    makers = {OURS: problem.ours} | {k: v for k, v in problem.peers().items() if k not in without}
    return figures(problem, measure(makers, problem.X, problem.y, n_runs))


def rows(args):
    """Print the data sets of the design."""
    # On the spectrum the others take half a minute each: `lowrank` has them
    slow = ("Lasso", "Lasso, celer", "Lasso, skglm")
    wanted = [
        ("diamonds, cubic", conditioning_data.diamonds_cubic, [(None, None)], ()),
        ("diamonds, products", conditioning_data.diamonds_products, [(None, None)], ()),
        ("diamonds, splines", conditioning_data.diamonds_splines, [("l2", 1e-3)], ()),
        ("oils", conditioning_data.oils, [("l2", 1e-4)], ()),
        ("house prices", conditioning_data.house_prices, [("l1", 0.1), ("l1", 0.01)], ()),
        ("spectrum", partial(conditioning_data.low_rank, 20_000, 1_000), [("l1", 0.01)], slow),
        ("trips", conditioning_data.taxi_trips, [(None, None)], ()),
        ("twins", conditioning_data.twins, [(None, None)], ()),
    ]
    found = []
    for name, load, penalties, without in wanted:
        if args.quick and name not in ("oils", "house prices", "trips", "twins"):
            continue
        data_set = Problem(name, *load())
        for penalty, strength in penalties:
            found += compare(data_set.with_penalty(penalty, strength), args.runs, without)
    return {"Rows of the design": found}


def expansions(args):
    """Polynomials and splines, without a penalty and with "l2" and "l1"."""
    found = []
    loaders = conditioning_data.EXPANSIONS
    for name in ("boston, quadratic", "mtcars, quadratic") if args.quick else loaders:
        data_set = Problem(name, *loaders[name]())
        for penalty, strength in [(None, None), ("l2", 1e-3), ("l1", 0.1), ("l1", 1e-3)]:
            # Where they do not converge, thousands of epochs over so many rows are minutes
            without = ("Lasso", "Lasso, celer", "Lasso, skglm") if len(data_set.y) > 25_000 else ()
            found += compare(data_set.with_penalty(penalty, strength), args.runs, without)
    return {"Polynomials and splines": found}


def on_table(problem, n_runs):
    """Figures of ours and of scikit-learn's estimator on one table."""
    peer, make = problem.peer()
    fits = measure({OURS: problem.ours, peer: make}, problem.X, problem.y, n_runs)
    own, other = fits[OURS], fits[peer]
    gaps = [np.inf if fit.model is None else float(problem.gap(fit.model)) for fit in (own, other)]
    promise = np.inf if own.model is None else float(problem.gap_to_promise(own.model))
    return {
        "data": problem.name,
        "rows": problem.X.shape[0],
        "columns": problem.X.shape[1],
        "condition": problem.rows.condition(),
        "penalty": problem.label,
        "ms": own.ms,
        "peer ms": other.ms,
        "gap": gaps[0],
        "gap to promise": promise,
        "peer gap": gaps[1],
        "warned": own.warned,
        "peer warned": other.warned,
        "epochs": int(own.model.n_iter_) if own.model is not None else None,
        "stop": getattr(own.model, "stop_reason_", None),
        "certain": problem.optimum.value - problem.optimum.bound <= CERTAIN * problem.null,
    }


def summary(fits, **names):
    """One row for many fits."""
    ratio = np.array([fit["ms"] / fit["peer ms"] for fit in fits])
    gaps, peer_gaps = (np.array([fit[key] for fit in fits]) for key in ("gap", "peer gap"))
    return names | {
        "fits": len(fits),
        "warned": sum(fit["warned"] is not None for fit in fits),
        "gap > tol": int(np.sum(gaps > TOL)),
        "to promise > tol": sum(fit["gap to promise"] > TOL for fit in fits),
        "largest gap": float(gaps.max()),
        "peer warned": sum(fit["peer warned"] is not None for fit in fits),
        "peer gap > tol": int(np.sum(peer_gaps > TOL)),
        "epochs, median": float(np.median([fit["epochs"] for fit in fits if fit["epochs"] is not None] or [np.nan])),
        "time ÷ peer, median": float(np.median(ratio)),
        "9th decile": float(np.quantile(ratio, 0.9)),
        "sum ÷ sum": sum(fit["ms"] for fit in fits) / sum(fit["peer ms"] for fit in fits),
        "optimum uncertain": sum(not fit["certain"] for fit in fits),
    }


def worst(fits):
    """The fits with a warning or a gap above tol, the largest gaps first."""
    failed = sorted((fit for fit in fits if fit["warned"] or fit["gap"] > TOL), key=lambda fit: -fit["gap"])
    left_out = ("certain", "peer warned")
    return [{key: value for key, value in fit.items() if key not in left_out} for fit in failed[:WORST_SHOWN]]


def tables(args):
    """Every table of R with a numeric target."""
    fits = {"standardized": [], "raw": []}
    step = QUICK_SHARE if args.quick else 1
    for name, X_raw, y in islice(conditioning_data.r_tables(), 0, None, step):
        progress(f"table {name}")
        for kind, X in (("standardized", conditioning_data.standardized(X_raw)), ("raw", X_raw)):
            data_set = Problem(f"{name}, {kind}", X, y)
            _ = data_set.rows  # reduced once for all penalties
            fits[kind] += [on_table(data_set.with_penalty(*variant), args.runs) for variant in VARIANTS]
    everything = fits["standardized"] + fits["raw"]
    lines = []
    for kind, of_kind in fits.items():
        for label in dict.fromkeys(fit["penalty"] for fit in of_kind):
            lines.append(summary([f for f in of_kind if f["penalty"] == label], columns=kind, penalty=label))
    penalised = [fit for fit in everything if fit["penalty"] != "none"]
    lines.append(summary(penalised, columns="both", penalty="with any"))
    lines.append(summary(everything, columns="both", penalty="with any or none"))
    args.details["fits of R's tables"] = everything
    return {"Tables of R": lines, f"Tables of R: warned, or gap above tol = {TOL:g}": worst(everything)}


def to_gap(problem, name, make, args):
    """Row of one estimator at the loosest tolerance that brings it within the wanted gap."""
    spent = 0.0
    for tol in TOLERANCES:
        fit = measure({name: partial(make, tol=float(tol))}, problem.X, problem.y, 1)[name]
        gap, spent = problem.gap(fit.model), spent + 1e-3 * fit.ms
        if gap <= WANTED_GAP or fit.warned or spent > args.seconds:
            break
    if gap <= WANTED_GAP:
        fit.ms = measure({name: partial(make, tol=float(tol))}, problem.X, problem.y, args.runs)[name].ms
    return {
        "data": problem.name,
        "rows × columns": f"{problem.X.shape[0]:,} × {problem.X.shape[1]:,}",
        "penalty": problem.label,
        "estimator": name,
        "ms": fit.ms,
        "gap": float(gap),
        "reached": "yes" if gap <= WANTED_GAP else "NO",
        "tol": float(tol),
        "warned": fit.warned,
        "epochs": int(fit.model.n_iter_) if name == OURS else None,
        "stop": getattr(fit.model, "stop_reason_", None),
    }


def lowrank(args):
    """Everyone to the same gap, "l1"."""
    sets = [
        ("low-rank, tall", *conditioning_data.low_rank(*((2_000, 100) if args.quick else (20_000, 1_000)))),
        ("low-rank, wide", *conditioning_data.low_rank(*((200, 500) if args.quick else (2_000, 5_000)))),
        ("house prices", *conditioning_data.house_prices()),
    ]
    sets.append(("house prices, column by column", np.asfortranarray(sets[2][1]), sets[2][2]))
    found = []
    for name, X, y in sets[: 2 if args.quick else 4]:
        data_set = Problem(name, X, y)
        for strength in (0.1, 0.01):
            problem = data_set.with_penalty("l1", strength)
            for peer, make in {OURS: problem.ours, **problem.peers()}.items():
                if peer in ("Lasso", "Lasso, precompute=True"):
                    make = partial(make, max_iter=LASSO_EPOCHS)
                progress(f"{name}, {problem.label}: {peer}")
                found.append(to_gap(problem, peer, make, args))
    return {f"l1 to a gap of {WANTED_GAP:g}": found}


def robust_rows(name, X, y, loss, value, exact, makers, args):
    """Rows of all estimators for another loss: `value` is the mean loss of errors."""
    progress(f"{name}, {loss}")
    fits = measure(makers, X, y, args.runs)
    null = exact(np.zeros((len(y), 1)))
    best = exact(X)
    return [
        {
            "data": name,
            "rows × columns": f"{X.shape[0]:,} × {X.shape[1]:,}",
            "loss": loss,
            "estimator": peer,
            "ms": fit.ms,
            "ours ÷ this": fits[OURS].ms / fit.ms if peer != OURS else None,
            "gap": np.inf if fit.model is None else float((value(fit.model.predict(X) - y) - best) / null),
            "warned": fit.warned,
            "epochs": int(fit.model.n_iter_) if peer == OURS and fit.model is not None else None,
            "stop": getattr(fit.model, "stop_reason_", None),
        }
        for peer, fit in fits.items()
    ]


def robust(args):
    """ "huber" and "quantile" on three data sets, against the exact minimum of their objective.

    HuberRegressor also estimates the scale of the errors.  Ours gets its epsilon times that scale: then both minimise
    the same objective.
    """
    sets = {
        "boston": data.boston,
        "diamonds, 10,000 of them": conditioning_data.few_diamonds,
        "wages (CPS1988)": conditioning_data.wages,
    }
    found = []
    for name, load in islice(sets.items(), 1 if args.quick else 3):
        X, y = load()
        scaled = make_pipeline(StandardScaler(), HuberRegressor(alpha=0.0, max_iter=10_000, tol=1e-8)).fit(X, y)
        epsilon = float(scaled[-1].epsilon * scaled[-1].scale_)
        makers = {
            OURS: partial(GDLinearRegressor, "huber", epsilon=epsilon, random_state=0),
            "HuberRegressor": partial(HuberRegressor, alpha=0.0),
            "StandardScaler + HuberRegressor": lambda: make_pipeline(StandardScaler(), HuberRegressor(alpha=0.0)),
        }

        def value(e, epsilon=epsilon):
            return exact_optima.huber_loss(e, epsilon).mean()

        def exact(X, y=y, epsilon=epsilon):
            return exact_optima.huber(X, y, epsilon)

        found += robust_rows(name, X, y, "huber", value, exact, makers, args)
        for q in (0.5, 0.9):
            makers = {
                OURS: partial(GDLinearRegressor, "quantile", quantile=q, random_state=0),
                "QuantileRegressor": partial(QuantileRegressor, quantile=q, alpha=0.0),
            }

            def value(e, q=q):
                return exact_optima.pinball_loss(e, q).mean()

            def exact(X, y=y, q=q):
                return exact_optima.quantile(X, y, q)

            found += robust_rows(name, X, y, f"quantile {q:g}", value, exact, makers, args)
    return {"Huber's loss and quantiles": found}


def small(args):
    """Wall time of small fits."""
    found = []
    for name, X, y in [("diabetes", *data.diabetes()), ("gaussian", *data.gaussian(1_000, 20))]:
        for penalty in (None, "l2"):
            problem = Problem(name, X, y)
            if penalty:
                problem = Problem(name, X, y, "l2", 1.0 / len(y), strength="as Ridge's default")
            fits = measure({OURS: problem.ours, "Ridge": Ridge, **problem.peers()}, X, y, 10 if args.quick else 100)
            found += figures(problem, fits)
    return {"Small fits": found}


def wide(args):
    """Where no matrix of the columns is made: how far it gets."""
    if args.quick:
        sets = [("dense", *conditioning_data.decaying(100, 5_500, 0.5))]
    else:
        sets = [
            ("dense, slow decay", *conditioning_data.decaying(1_000, 6_000, 0.5)),
            ("dense, fast decay", *conditioning_data.decaying(1_000, 6_000, 1.5)),
            ("dense, tall", *conditioning_data.decaying(5_000, 4_200, 1.0)),
            ("sparse", *conditioning_data.sparse_uniform(10_000, 20_000)),
            ("sparse, tall", *conditioning_data.sparse_uniform(50_000, 10_000)),
        ]
    found = []
    for name, X, y in sets:
        data_set = Problem(name, X, y)
        for penalty, strength in [(None, None), ("l2", 1e-3), ("l2", 0.1), ("l1", 0.1), ("l1", 0.01)]:
            if name == "dense, tall" and (penalty is None or strength < 0.1):
                continue  # minutes, of the exact solver
            found += compare(data_set.with_penalty(penalty, strength), args.runs, ("Ridge",) if not penalty else ())
    for n, d in [(400, 200)] if args.quick else [(4_000, 1_000), (8_000, 5_000)]:
        data_set = Problem("dense, many coefficients", *conditioning_data.independent(n, d))
        for strength in (0.1, 0.01):
            found += compare(data_set.with_penalty("l1", strength), args.runs)
    return {"Wide": found}


SECTIONS = {
    "rows": rows,
    "tables": tables,
    "expansions": expansions,
    "lowrank": lowrank,
    "robust": robust,
    "small": small,
    "wide": wide,
}


def parse_args():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="little data of every section, one run")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="these sections")
    parser.add_argument("--runs", type=int, help="timed runs per fit (default 3, quick 1)")
    parser.add_argument(
        "--seconds", type=float, default=40.0, help="of one estimator on its way to the gap of the low-rank section"
    )
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE, every table of R too")
    return parser.parse_args()


def main():
    """Print the tables."""
    args = parse_args()
    args.runs = args.runs or (1 if args.quick else 3)
    args.details = {}  # for the JSON file alone
    print(heading("Nearly collinear columns", *filter(installed, OPTIONAL)))
    for package in OPTIONAL:
        if not installed(package):
            print(f"{package}: not installed (pip install {package})\n")
    warm_up()
    found = {}
    for name in args.only or SECTIONS:
        for title, lines in SECTIONS[name](args).items():
            found[title] = lines
            print(f"## {title}\n\n{table(lines) if lines else 'None.'}", flush=True)
    if args.json:
        write_json(args.json, **found, **args.details)


if __name__ == "__main__":
    main()
