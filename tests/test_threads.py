"""Threads and processes: what runs side by side gives the bits of what runs one after another."""

import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from operator import methodcaller

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array

from builders import iterate, plan, problem
from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._data.statistics import Moments
from sk_gdlinear._descent.backend import DENSE, REFERENCE, SPARSE
from sk_gdlinear._descent.variance_reduction import VarianceReduction

VARIANTS = [
    {},
    {"batch_size": 1},
    {"batch_size": None},
    {"loss": "quantile", "penalty": "l1"},
    {"early_stopping": True},
    {"standardize": False, "average": False, "learning_rate": 0.01},
]


@pytest.fixture(params=["float64", "float32", "sparse"])
def rows(request, rng):
    dtype = np.float32 if request.param == "float32" else np.float64
    X = rng.normal(size=(3_000, 20)).astype(dtype)
    X *= rng.random(X.shape) < 0.5
    Y = (X @ rng.normal(size=(20, 2)) + rng.normal(size=(3_000, 2))).astype(dtype)
    return csr_array(X) if request.param == "sparse" else X, Y


def make(seed=0, **params):
    return GDLinearRegressor(max_iter=4, tol=None, random_state=seed, **params)


def fitted(model):
    return [model.coef_, model.intercept_, np.array(model.loss_curve_)]


def test_predict_from_16_threads_at_once_gives_the_bits_of_one(rows):
    X, Y = rows
    model = make().fit(X, Y)
    parts = [X[start :: 1 + start % 3] for start in range(64)]
    alone = [model.predict(part) for part in parts]
    barrier = threading.Barrier(16)

    def predict(part):
        barrier.wait()
        return model.predict(part)

    with ThreadPoolExecutor(16) as pool:
        for together, serial in zip(pool.map(predict, parts), alone, strict=True):
            assert_array_equal(together, serial)


@pytest.mark.parametrize("params", VARIANTS, ids=str)
def test_fits_in_threads_on_the_same_rows_give_the_bits_of_one_after_another(rows, params):
    X, Y = rows
    models = [make(seed, **params) for seed in range(6)]
    weight = np.linspace(0.0, 2.0, X.shape[0]).astype(X.dtype)
    with ThreadPoolExecutor(6) as pool:
        together = [fitted(model) for model in pool.map(lambda model: model.fit(X, Y, weight), models)]
    for parallel, model in zip(together, models, strict=True):
        for a, b in zip(parallel, fitted(model.fit(X, Y, weight)), strict=True):
            assert_array_equal(a, b)


def test_streams_in_threads_give_the_bits_of_one_after_another(rows):
    X, Y = rows

    def stream(model):
        for start in range(0, X.shape[0], 300):
            model.partial_fit(X[start : start + 300], Y[start : start + 300])
        return fitted(model)

    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(stream, [make(seed) for seed in range(6)]))
    for seed, parallel in enumerate(together):
        for a, b in zip(parallel, stream(make(seed)), strict=True):
            assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("verb", ["epoch", "gradient", "errors", "moments", "max_row_norm"])
def test_kernels_run_beside_python(verb, kind):
    """The interpreter switches threads only where one gives way; so what main counts, it counts during the call."""
    if REFERENCE in (DENSE, SPARSE):
        pytest.skip("the compiled kernels were not built")
    X, order = np.zeros((300_000, 10)), np.arange(300_000)
    A, backend = (X, DENSE) if kind == "dense" else (csr_array(X + 1.0), SPARSE)
    of, at = problem(A, X[:, :1].copy()), iterate(10, seed=1)
    run = {
        "epoch": lambda: backend.epoch(of, plan(order, 100, 0.0, 0.0), iterate(10, seed=None), VarianceReduction()),
        "gradient": lambda: backend.gradient(of, order, at.W, at.b),
        "errors": lambda: backend.errors(of, order, at.W, at.b),
        "moments": lambda: backend.moments(A, order, None, Moments.empty(10)),
        "max_row_norm": lambda: backend.max_row_norm(of.rows, order, of.standardization, True),
    }[verb]
    state = {"inside": False, "done": False}

    def work():
        for _ in range(20):
            state["inside"] = True
            run()
            state["inside"] = False
        state["done"] = True

    interval, counted = sys.getswitchinterval(), 0
    sys.setswitchinterval(1_000.0)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        while not state["done"]:
            counted += state["inside"]
            thread.join(0.0001)
    finally:
        sys.setswitchinterval(interval)
        thread.join()
    assert counted > 0


# --- processes -------------------------------------------------------------------------------------------------------

METHODS = [m for m in ("fork", "spawn", "forkserver") if m in multiprocessing.get_all_start_methods()]


def fit_in_children():
    """Print whether children, begun in every way there is, fit and predict as this process does, which did so before.

    Fork copies a process in which BLAS has run already.
    """
    X = np.random.default_rng(0).normal(size=(2_000, 200))
    Y = X[:, :3] + 1.0
    models = [make(seed) for seed in range(2)]
    here = [methodcaller("fit", X, Y)(model) for model in models]
    for method in METHODS:
        with multiprocessing.get_context(method).Pool(2 if method == "fork" else 1) as pool:
            there = pool.map_async(methodcaller("fit", X, Y), models).get(100)
            predictions = pool.map_async(methodcaller("predict", X), here).get(100)
        trios = zip(here, there, predictions, strict=True)
        same = [(a.coef_ == b.coef_).all() and (a.predict(X) == p).all() for a, b, p in trios]
        print(method, all(same))


def coefficients():
    """Print, twice, the coefficients of fits large enough for OpenBLAS to use its threads, if it may."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1_000, 300))
    Y = X @ rng.normal(size=(300, 3)) + rng.normal(size=(1_000, 3))
    for params in [{}, {"batch_size": 500}, {"batch_size": None}] * 2:
        models = [make(**params).fit(X, y) for y in (Y, Y[:, 0])]
        numbers = np.concatenate([np.append(model.coef_, model.predict(X)) for model in models])
        print(*(value.hex() for value in numbers.tolist()))


def in_a_new_process(*arguments, **environment):
    """Run this file as a script; return what it printed."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, __file__, *arguments],
        env=os.environ | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_child_processes_fit_as_their_parent():
    assert in_a_new_process("children").splitlines() == [f"{method} True" for method in METHODS]


def test_blas_threads_change_no_more_than_rounding_and_the_same_number_nothing():
    one, two = (in_a_new_process("coefficients", OPENBLAS_NUM_THREADS=n).splitlines() for n in "12")
    for lines in (one, two):
        assert len(lines) == 6
        assert lines[:3] == lines[3:]
    for line, other in zip(one, two, strict=True):
        a, b = ([float.fromhex(number) for number in text.split()] for text in (line, other))
        # some hundred updates one after another, each rounded in another order
        assert_allclose(a, b, rtol=1e-9, atol=1e-9 * np.abs(b).max())


if __name__ == "__main__":
    {"children": fit_in_children, "coefficients": coefficients}[sys.argv[1]]()
