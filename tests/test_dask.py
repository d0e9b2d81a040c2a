"""DaskGDLinearRegressor on a cluster of two workers in this process; test_dask_processes.py has those of their own."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, QuantileRegressor, Ridge
from sklearn.metrics import mean_pinball_loss, r2_score

from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._data.rows import Rows
from sk_gdlinear._descent.backend import choose_backend
from sk_gdlinear._descent.newton import Proposal
from sk_gdlinear._descent.row_sums import Point, RowSums
from sk_gdlinear._fit.build import make_objective, standardize
from sk_gdlinear.penalties import Box

da = pytest.importorskip("dask.array", reason="the cluster is Dask's")
distributed = pytest.importorskip("distributed", reason="the cluster is Dask's")
DaskGDLinearRegressor = pytest.importorskip("sk_gdlinear.dask").DaskGDLinearRegressor
Partitions = pytest.importorskip("sk_gdlinear.dask.partitions").Partitions
Cluster = pytest.importorskip("sk_gdlinear.dask.cluster").Cluster
ClusterSums = pytest.importorskip("sk_gdlinear.dask.newton_rounds").ClusterSums
Broadcast = pytest.importorskip("sk_gdlinear.dask.tasks").Broadcast


@pytest.fixture(scope="module", autouse=True)
def client():
    workers = dict(n_workers=2, threads_per_worker=1, processes=False)
    with (
        distributed.LocalCluster(**workers, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def make_rows(rng, n=3_000, d=5, k=None):
    """Rows of mixed units with noise; y is 1-D unless k is given."""
    scale = np.geomspace(0.01, 100.0, d)
    X = rng.normal(size=(n, d)) * scale + 5.0
    y = (X / scale) @ rng.normal(size=(d, k or 1)) + rng.normal(size=(n, k or 1))
    return X, y if k else y[:, 0]


def partitioned(*arrays, chunks=(700, 1_100, 300, 900), persist=True):
    """The arrays as partitions, which lie on the workers, or else are sent anew with each question."""
    lazy = [da.from_array(a, chunks=(chunks, *a.shape[1:])) for a in arrays]
    return distributed.get_client().persist(lazy) if persist else lazy


def least_squares_r2(X, y):
    Z = np.column_stack([(X - X.mean(axis=0)) / np.maximum(X.std(axis=0), 1e-300), np.ones(len(X))])
    return r2_score(y, Z @ np.linalg.lstsq(Z, y, rcond=None)[0])


# --- synchronous steps -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "k", "weighted"),
    [
        ({}, None, False),
        ({"fit_intercept": False}, 3, True),
        ({"standardize": False}, 3, False),
        ({"schedule": "invscaling"}, None, True),
        ({"loss": "huber", "penalty": "l1", "alpha": 0.1}, 3, True),
        ({"penalty": "elasticnet", "alpha": 0.1, "positive": True}, None, False),
    ],
)
def test_full_batches_equal_the_estimator_in_memory(rng, params, k, weighted):
    X, y = make_rows(rng, k=k)
    weight = [rng.integers(0, 4, size=len(X)).astype(float)] if weighted else []
    step = 1e-5 if "standardize" in params else 0.3
    settings = dict(batch_size=None, learning_rate=step, max_iter=4, tol=None, **params)
    model = DaskGDLinearRegressor(**settings).fit(*partitioned(X, y, *weight))
    expected = GDLinearRegressor(**settings).fit(X, y, *weight)
    assert_allclose(model.coef_, expected.coef_, rtol=1e-10, atol=1e-12)
    assert_allclose(model.intercept_, expected.intercept_, rtol=1e-10)
    assert_allclose(model.loss_curve_, expected.loss_curve_, rtol=1e-10)
    assert (model.n_iter_, model.t_, model.stop_reason_) == (4, 4, "max_iter")
    assert_allclose(model.learning_rate_, expected.learning_rate_, rtol=1e-12)


@pytest.mark.parametrize("precondition", ["auto", False])
def test_the_automatic_step_of_full_batches_converges(rng, precondition):
    X, y = make_rows(rng)
    model = DaskGDLinearRegressor(batch_size=None, precondition=precondition).fit(*partitioned(X, y))
    assert model.stop_reason_ == ("converged" if precondition else "no_change")
    assert model.to_local().score(X, y) >= least_squares_r2(X, y) - 1e-3


def test_too_few_epochs_warn(rng):
    with pytest.warns(ConvergenceWarning, match="max_iter=1 epochs were not enough") as caught:
        DaskGDLinearRegressor(max_iter=1).fit(*partitioned(*make_rows(rng)))
    assert caught[0].filename == __file__


def test_verbose_prints_a_line_per_round(rng, capsys):
    DaskGDLinearRegressor(max_iter=2, tol=None, verbose=1).fit(*partitioned(*make_rows(rng)))
    assert len(capsys.readouterr().out.splitlines()) == 4  # and why it stopped


def test_callbacks_hear_of_every_round(rng):
    callbacks = pytest.importorskip("sklearn.callback", reason="callbacks came with scikit-learn 1.9")
    monitor = callbacks.ScoringMonitor(scoring="r2")
    X, y = partitioned(*make_rows(rng))
    model = DaskGDLinearRegressor(max_iter=3, tol=None).set_callbacks(monitor).fit(X, y)
    assert model.n_iter_ == 3


def test_a_step_too_large_raises_and_changes_nothing(rng, state_of):
    X, y = make_rows(rng)
    for batch_size in (None, 32):
        model = DaskGDLinearRegressor(batch_size=batch_size, learning_rate=1e3, standardize=False)
        before = state_of(model)
        with pytest.raises(ValueError, match="diverged"):
            model.fit(*partitioned(X, y))
        assert state_of(model) == before


# --- rounds ----------------------------------------------------------------------------------------------------------


def one_category_per_partition(rng, n=3_000):
    X, y = make_rows(rng, n)
    category = np.repeat(np.arange(4), [700, 1_100, 300, 900])
    return np.column_stack([X + category[:, None], np.eye(4)[category]]), y + 5.0 * category


@pytest.mark.parametrize("precondition", ["auto", False])
@pytest.mark.parametrize(
    ("data", "k"),
    [("alike", 2), ("sorted by the target", None), ("sorted by the target", 2), ("sorted by a feature", None)]
    + [("one category each", None)],
)
def test_few_rounds_reach_least_squares_whatever_the_partitions(rng, seed, data, k, precondition):
    X, y = one_category_per_partition(rng) if data == "one category each" else make_rows(rng, k=k)
    if data.startswith("sorted"):
        order = np.argsort(y.reshape(len(y), -1)[:, 0] if "target" in data else X[:, 0])
        X, y = X[order], y[order]
    rounds = dict(max_iter=3, tol=1e-8) if precondition else dict(max_iter=10, tol=None)
    model = DaskGDLinearRegressor(random_state=seed, precondition=precondition, **rounds).fit(*partitioned(X, y))
    assert model.to_local().score(X, y) >= least_squares_r2(X, y) - (1e-8 if precondition else 1e-4)
    assert np.all(np.diff(model.loss_curve_) <= 1e-12 * model.loss_curve_[0])  # no round raises the objective


def test_one_round_suffices_where_partitions_are_alike(rng, seed):
    X, y = make_rows(rng, 90_000)
    model = DaskGDLinearRegressor(random_state=seed).fit(*partitioned(X, y, chunks=(30_000,) * 3))
    assert (model.n_iter_, model.stop_reason_) == (1, "converged")
    assert model.to_local().score(X, y) >= least_squares_r2(X, y) - 1e-4


def start_and_end_times(rng, n):
    """Condition 1e5: a duration is the difference of two times in seconds since 1970."""
    start, duration = 1.5e9 + rng.uniform(0, 9.45e7, n), rng.gamma(2, 300, n)
    return np.column_stack([start, start + duration]), 2 + 0.7 * duration / 60 + rng.normal(size=n)


def nearly_equal_columns(rng, n):
    """Condition 2e5, and the target is what distinguishes them."""
    u, v = rng.normal(size=(2, n))
    return np.column_stack([u, u + 1e-5 * v]), v


@pytest.mark.parametrize("sort", [False, True])
@pytest.mark.parametrize("make", [start_and_end_times, nearly_equal_columns])
def test_nearly_collinear_columns_have_the_answer_of_least_squares(rng, seed, make, sort):
    X, y = make(rng, 20_000)
    if sort:
        X, y = X[np.argsort(y)], np.sort(y)
    model = DaskGDLinearRegressor(random_state=seed).fit(*partitioned(X, y, chunks=(5_000,) * 4))
    assert (model.stop_reason_, model.n_iter_ <= 5) == ("converged", True)
    assert model.to_local().score(X, y) >= least_squares_r2(X, y) - 1e-6


PENALTIES = [
    ({"penalty": "l2", "alpha": 0.3}, lambda n: Ridge(alpha=0.3 * n, solver="cholesky")),
    ({"penalty": "l1", "alpha": 0.02}, lambda n: Lasso(alpha=0.02, tol=1e-12, max_iter=100_000)),
    ({"penalty": "l1", "alpha": 0.7}, lambda n: Lasso(alpha=0.7, tol=1e-12, max_iter=100_000)),
    (
        {"penalty": "elasticnet", "alpha": 0.3, "l1_ratio": 0.5},
        lambda n: ElasticNet(alpha=0.3, l1_ratio=0.5, tol=1e-12, max_iter=100_000),
    ),
    ({"positive": True}, lambda n: LinearRegression(positive=True)),
]


@pytest.mark.parametrize("sort", [False, True])
@pytest.mark.parametrize(
    ("params", "oracle"), PENALTIES, ids=lambda value: str(value) if isinstance(value, dict) else ""
)
def test_a_penalised_fit_has_the_optimum_in_few_rounds_by_default(rng, seed, params, oracle, sort):
    X, y = make_rows(rng, d=8)
    X[:, 1] = X[:, 0] + 1e-2 * X[:, 1]  # nearly collinear
    if sort:
        X, y = X[np.argsort(y)], np.sort(y)
    expected = oracle(len(X)).fit(X, y)
    model = DaskGDLinearRegressor(random_state=seed, tol=1e-8, **params).fit(*partitioned(X, y))
    assert (model.stop_reason_, model.n_iter_ <= 5) == ("converged", True)
    assert_allclose(model.coef_, expected.coef_, rtol=1e-5, atol=1e-7)
    assert_array_equal(model.coef_ == 0.0, expected.coef_ == 0.0)
    mean = 0.5 * np.square(y - y.mean()).mean()
    assert model.loss_curve_[0] <= mean * (1 + 1e-12)  # also where the average of the partitions is worse


def huber_optimum(X, y, weight, epsilon, l2):
    """The least value of the objective, by scipy's quasi-Newton method on standardized columns."""
    spread = X.std(axis=0)
    Z, ridge = (X - X.mean(axis=0)) / spread, l2 / spread**2

    def value_and_gradient(v):
        e = Z @ v[:-1] + v[-1] - y
        psi = np.clip(e, -epsilon, epsilon)
        value = weight @ (psi * (e - 0.5 * psi)) / weight.sum() + 0.5 * ridge @ v[:-1] ** 2
        return value, np.append((weight * psi) @ Z / weight.sum() + ridge * v[:-1], (weight * psi).sum() / weight.sum())

    return minimize(value_and_gradient, np.zeros(X.shape[1] + 1), jac=True, method="BFGS", options={"gtol": 1e-10}).fun


class OwnHuber:
    """Huber's loss, as a user would write it."""

    lipschitz = 1.0

    def value(self, e):
        return np.where(np.abs(e) < 1.35, 0.5 * e * e, 1.35 * (np.abs(e) - 0.675))

    def derivative(self, e):
        return np.clip(e, -1.35, 1.35)


@pytest.mark.parametrize("sort", [False, True])
@pytest.mark.parametrize(("loss", "alpha"), [("huber", 0.0), ("huber", 0.5), (OwnHuber(), 0.0)])
def test_a_robust_fit_has_the_optimum_in_few_rounds_by_default(rng, seed, loss, alpha, sort):
    X, y = make_rows(rng)
    y = y + 3.0 * rng.standard_t(1.5, size=len(y))
    if sort:
        X, y = X[np.argsort(y)], np.sort(y)
    weight = rng.integers(0, 3, size=len(X)).astype(float)
    params = {"penalty": "l2", "alpha": alpha} if alpha else {}
    model = DaskGDLinearRegressor(loss, random_state=seed, tol=1e-6, **params).fit(*partitioned(X, y, weight))
    assert (model.stop_reason_, model.n_iter_ <= 5) == ("converged", True)
    assert_allclose(model.loss_curve_[-1], huber_optimum(X, y, weight, 1.35, alpha), rtol=1e-6)


@pytest.mark.parametrize("sort", [False, True])
@pytest.mark.parametrize(("quantile", "ties"), [(0.5, False), (0.9, False), (0.9, True)])
def test_a_quantile_is_that_of_linear_programming(rng, seed, quantile, ties, sort):
    X, y = make_rows(rng, 1_500, d=3)
    if ties:
        y = (y > np.median(y)).astype(float)
    if sort:
        X, y = X[np.argsort(y)], np.sort(y)
    model = DaskGDLinearRegressor("quantile", quantile=quantile, random_state=seed, tol=1e-5)
    model.fit(*partitioned(X, y, chunks=(500,) * 3))
    expected = QuantileRegressor(quantile=quantile, alpha=0.0).fit(X / X.std(axis=0), y).predict(X / X.std(axis=0))
    loss, least = (mean_pinball_loss(y, p, alpha=quantile) for p in (model.to_local().predict(X), expected))
    assert model.stop_reason_ == "converged"
    assert loss <= least * (1 + 1e-4)


@pytest.mark.parametrize(
    "params",
    [
        {"penalty": "l1", "alpha": 0.1},
        {"loss": "huber", "penalty": "elasticnet", "alpha": 0.05},
        {"positive": True, "fit_intercept": False},
        {"penalty": Box(-0.1, 0.2)},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rounds_have_the_answer_of_one_machine(rng, seed, params, dtype):
    """Several targets, weights, sparse blocks and both dtypes."""
    sparse = pytest.importorskip("scipy.sparse")
    X, y = make_rows(rng, k=2)
    X = (X * (rng.random(X.shape) < 0.5)).astype(dtype)
    weight = rng.integers(0, 3, size=len(X)).astype(float)
    settings = dict(random_state=seed, tol=1e-8, **params)
    expected = GDLinearRegressor(**settings).fit(X.astype(np.float64), y, weight)
    data = partitioned(X, y, weight)
    for rows in (data[0], data[0].map_blocks(sparse.csr_array)):
        model = DaskGDLinearRegressor(**settings).fit(rows, *data[1:])
        assert (model.stop_reason_, model.n_iter_ <= 5, model.coef_.dtype) == ("converged", True, dtype)
        assert_allclose(model.loss_curve_[-1], expected.loss_curve_[-1], rtol=1e-7)
        assert_allclose(model.coef_, expected.coef_, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("loss", ["squared_error", "huber", "quantile"])
def test_sums_over_partitions_are_those_of_the_rows_in_memory(rng, client, loss):
    """What Newton steps need; and the losses on the way to other parameters are those at the points there."""
    X, y = make_rows(rng, k=2)
    weight = rng.integers(0, 3, size=len(X)).astype(float)
    partitions = Partitions(client, *partitioned(X, y, weight))
    statistics = partitions.compute_statistics(standardize=True).statistics
    hyper = DaskGDLinearRegressor(loss)._hyperparameters(5, 2)
    objective = make_objective(statistics, hyper, standardize(statistics, hyper, 5, 2, X.dtype))
    rows = Rows(X, y, weight / weight[weight > 0].mean(), np.flatnonzero(weight))
    memory = RowSums.of(choose_backend(X), rows, True)
    cluster = ClusterSums(Cluster(partitions, Broadcast(statistics, hyper, objective)))
    start, end = ((rng.normal(size=(2, 5)), rng.normal(size=2)) for _ in range(2))
    points = [sums.point(objective, *start) for sums in (cluster, memory)]
    for ours, theirs in zip(points[0][:5], points[1][:5], strict=True):
        assert_allclose(ours, theirs, rtol=1e-10)
    if loss != "squared_error":
        for t in range(2):
            ours, theirs = (s.curved_moments(objective, p, t) for s, p in zip((cluster, memory), points, strict=True))
            assert_allclose(ours.about(centre=False), theirs.about(centre=False), rtol=1e-9, atol=1e-12)
            assert_allclose(ours.count, theirs.count)
        proposal = Proposal(*end, gain=1.0, exact=True, damping=np.array([0.1, 0.2]))
        for second_step in (None, (rng.normal(size=(2, 5)), rng.normal(size=2))):
            both = (
                s.dual_sums(objective, p, proposal, second_step) for s, p in zip((cluster, memory), points, strict=True)
            )
            for ours, theirs in zip(*both, strict=True):
                assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)
            assert (ours > 1.0).all()  # some derivatives are out of bounds
    if loss == "quantile":
        ours, theirs = (sums.excess_and_loss(objective, *start) for sums in (cluster, memory))
        assert_allclose(ours, theirs, rtol=1e-10)
    shares = [0.5, 0.25]
    here, there = (Point(*at, None, None, None) for at in (start, end))
    between = cluster.losses_between(objective, here, there, shares) / cluster.total_weight
    there = [[a + share * (z - a) for a, z in zip(start, end, strict=True)] for share in shares]
    assert_allclose(between, [cluster.point(objective, *w).losses for w in there], rtol=1e-10)


@pytest.mark.parametrize("sort", [False, True])
def test_a_step_that_is_too_long_is_shortened_on_the_way(rng, seed, sort):
    """Noise far beyond epsilon and few rows per column: the loss curves about few of the rows."""
    X = rng.normal(size=(400, 60))
    y = X.sum(axis=1) + 5.0 * rng.standard_t(3, size=400)
    if sort:
        X, y = X[np.argsort(y)], np.sort(y)
    model = DaskGDLinearRegressor("huber", random_state=seed, tol=1e-6).fit(*partitioned(X, y, chunks=(100,) * 4))
    assert model.stop_reason_ == "converged"
    assert np.all(np.diff(model.loss_curve_) <= 0.0)
    assert_allclose(model.loss_curve_[-1], huber_optimum(X, y, np.ones(400), 1.35, 0.0), rtol=1e-5)
    assert model.n_iter_ <= 12


def test_a_warm_start_at_the_optimum_stays_there(rng, seed):
    X, y = make_rows(rng)
    data = partitioned(X[np.argsort(y)], np.sort(y))
    for params in ({}, {"penalty": "l1", "alpha": 0.1}, {"loss": "huber"}):
        model = DaskGDLinearRegressor(random_state=seed, warm_start=True, tol=1e-9, **params).fit(*data)
        n_rounds, loss = model.n_iter_, model.loss_curve_[-1]
        model.fit(*data)
        assert model.n_iter_ == 1
        assert_allclose(model.loss_curve_[n_rounds:], loss, rtol=1e-8)


def test_an_interruption_keeps_the_last_complete_round(rng, seed, monkeypatch):
    X, y = make_rows(rng)
    data = partitioned(X[np.argsort(y)], np.sort(y))
    settings = dict(random_state=seed, penalty="l1", alpha=0.1, tol=None)
    once = DaskGDLinearRegressor(max_iter=1, **settings).fit(*data)
    calls = []

    def interrupted(*args):
        calls.append(args)
        raise KeyboardInterrupt

    monkeypatch.setattr("sk_gdlinear._descent.newton.ProximalNewton.move", interrupted)
    model = DaskGDLinearRegressor(max_iter=3, **settings)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*data)
    assert (len(calls), model.stop_reason_, model.n_iter_) == (1, "interrupted", 1)
    assert_array_equal(model.coef_, once.coef_)


def test_long_partitions_are_descended_over_in_part(rng, seed):
    """Of single rows, as many as the longest local descent takes; sums are those of all rows."""
    X, y = make_rows(rng, 36_000)
    order = np.argsort(y)
    X, y = X[order], y[order]
    weight = rng.integers(0, 3, size=len(X)).astype(float)
    settings = dict(random_state=seed, batch_size=1, max_iter=10, tol=None)
    model = DaskGDLinearRegressor(**settings).fit(*partitioned(X, y, weight, chunks=(12_000,) * 3))
    assert model.t_ < 10 * 7_000
    expected = np.linalg.lstsq(np.sqrt(weight)[:, None] * np.column_stack([X, np.ones(len(X))]), np.sqrt(weight) * y)[0]
    assert_allclose(model.coef_, expected[:-1], rtol=1e-3)


def test_a_quadratic_penalty_is_that_of_ridge(rng, seed):
    X, y = make_rows(rng, k=2)
    model = DaskGDLinearRegressor(random_state=seed, penalty="l2", alpha=0.5, max_iter=10, tol=None)
    expected = Ridge(alpha=0.5 * len(X)).fit(X, y)
    assert_allclose(model.fit(*partitioned(X, y)).coef_, expected.coef_, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("params", [{}, {"fit_intercept": False, "average": False}, {"penalty": "l2", "alpha": 0.1}])
def test_the_loss_curve_is_the_objective(rng, seed, params):
    X, y = make_rows(rng, k=2)
    weight = rng.uniform(0.5, 2.0, size=len(X))
    model = DaskGDLinearRegressor(random_state=seed, max_iter=2, tol=None, **params).fit(*partitioned(X, y, weight))
    error = model.to_local().predict(X) - y
    objective = 0.5 * (weight @ error**2).sum() / weight.sum()
    if "penalty" in params:
        objective += 0.5 * params["alpha"] * (model.coef_**2).sum()
    assert_allclose(model.loss_curve_[-1], objective, rtol=1e-8)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("params", [{}, {"precondition": False}, {"penalty": "l1"}, {"loss": "huber"}], ids=str)
def test_the_answer_does_not_depend_on_who_does_what(rng, seed, client, params, large, monkeypatch):
    """Random orders belong to partitions, not to workers, and results are added in the order of these.

    Large results are added on the workers, two at a time.
    """
    if large:
        monkeypatch.setattr("sk_gdlinear.dask.partitions.GATHERED_BYTES", 0)
    settings = dict(random_state=seed, **params)
    data = partitioned(*make_rows(rng), chunks=(375,) * 8, persist=False)
    model = DaskGDLinearRegressor(**settings).fit(*data)
    with distributed.Client(client.scheduler.address) as other:
        pinned = [
            da.concatenate(
                other.persist(array.blocks[i], workers=[worker], allow_other_workers=False)
                for i, worker in enumerate([*client.nthreads()] * 4)  # two workers by turns
            )
            for array in data
        ]
        again = DaskGDLinearRegressor(**settings).fit(*pinned, client=other)
    assert_array_equal(again.coef_, model.coef_)
    assert again.n_iter_ == model.n_iter_


@pytest.mark.parametrize("large", [False, True])
def test_many_partitions_give_one_answer_persisted_or_not(rng, seed, large, monkeypatch):
    """Persisted partitions share tasks, others do not; more than a few results are added on the workers."""
    if large:
        monkeypatch.setattr("sk_gdlinear.dask.partitions.GATHERED_BYTES", 0)
    X, y = make_rows(rng)
    chunks = (100,) * 30
    models = [
        DaskGDLinearRegressor(random_state=seed).fit(*partitioned(X, y, chunks=chunks, persist=persist))
        for persist in (True, False)
    ]
    assert_allclose(models[0].coef_, models[1].coef_, rtol=1e-10)
    assert models[0].n_iter_ == models[1].n_iter_


def groups_of(client, X, y):
    """The groups of partitions that share a task; each partition is in one of them."""
    partitions = Partitions(client, X, y)
    partitions.compute_statistics(standardize=True)
    assert sorted(sum(partitions.groups, [])) == list(range(len(partitions)))
    return partitions.groups


def test_persisted_partitions_make_one_task_for_each_thread_of_a_worker(rng, client, monkeypatch):
    lazy = partitioned(*make_rows(rng), chunks=(100,) * 30, persist=False)
    assert len(groups_of(client, *lazy)) == 30  # dask makes them one at a time
    X, y = client.persist(lazy)
    groups = groups_of(client, X, y)
    held = client.who_has(X)
    lying = [held[block][0] for (block,) in X.__dask_keys__()]
    assert len(groups) <= 3  # one more where a worker holds more than its share
    assert all(len({lying[place] for place in group}) == 1 for group in groups)
    one = next(iter(client.nthreads()))
    X = client.persist(lazy[0] + 0.0, workers=[one], allow_other_workers=False)
    assert 2 <= len(groups_of(client, X, y)) <= 3  # half may be moved to the other worker
    monkeypatch.setattr("sk_gdlinear.dask.partitions.BYTES_PER_TASK", 3 * 100 * X.shape[1] * X.itemsize)
    assert max(map(len, groups_of(client, X, y))) == 3


def test_partitions_of_a_persisted_dataframe_share_tasks_also_some_columns_of_it(rng, client):
    dd = pytest.importorskip("dask.dataframe", reason="the frames are dask's")
    pd = pytest.importorskip("pandas", reason="the frames are made by pandas")
    X, y = make_rows(rng)
    frame = client.persist(dd.from_pandas(pd.DataFrame(X, columns=list("abcde")).assign(y=y), npartitions=30))
    assert len(groups_of(client, frame[list("ace")], frame["y"])) <= 3
    assert len(groups_of(client, frame, frame["y"])) <= 3
    assert len(groups_of(client, frame.repartition(npartitions=7), frame["y"].repartition(npartitions=7))) == 7


def test_workers_may_come_while_statistics_are_computed(rng):
    with (
        distributed.LocalCluster(n_workers=0, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        partitions = Partitions(client, *partitioned(*make_rows(rng)))
        assert not client.nthreads()
        cluster.scale(1)
        partitions.compute_statistics(standardize=True)
        assert partitions.groups == [[0, 1, 2, 3]]
        assert list(partitions.n_threads.values()) == [1]


def test_float32_stays_float32(rng, seed):
    X, y = make_rows(rng)
    model = DaskGDLinearRegressor(random_state=seed).fit(*partitioned(X.astype(np.float32), y))
    assert model.coef_.dtype == np.float32
    assert model.to_local().score(X, y) >= least_squares_r2(X, y) - 1e-4
    assert model.predict(*partitioned(X.astype(np.float32))).dtype == np.float32


def test_integer_weights_equal_repeated_rows_and_zero_weights_absent_ones(rng):
    X, y = make_rows(rng)
    weight = rng.integers(0, 3, size=len(X)).astype(float)
    repeated = np.repeat(np.arange(len(X)), weight.astype(int))
    model = DaskGDLinearRegressor(random_state=0, max_iter=10, tol=None).fit(*partitioned(X, y, weight))
    expected = GDLinearRegressor(batch_size=None, tol=1e-12, max_iter=5_000).fit(X[repeated], y[repeated])
    assert_allclose(model.predict(*partitioned(X)), expected.predict(X), atol=1e-3 * y.std())


def test_warm_start_goes_on(rng, seed):
    X, y = make_rows(rng)
    model = DaskGDLinearRegressor(random_state=seed, warm_start=True, max_iter=1, tol=None).fit(*partitioned(X, y))
    first = model.loss_curve_[0]
    model.fit(*partitioned(X, y))
    assert len(model.loss_curve_) == 2
    assert model.loss_curve_[1] < first


@pytest.mark.filterwarnings("ignore:.*max_iter")
def test_a_warm_start_keeps_what_is_not_given_anew(rng):
    X, y = make_rows(rng, d=2)
    data = partitioned(X, y)
    still = dict(standardize=False, learning_rate=1e-300, batch_size=None, max_iter=1, tol=None, warm_start=True)
    model = DaskGDLinearRegressor(**still).fit(*data, coef_init=[3.0, 4.0], intercept_init=7.0)
    model.fit(*data, intercept_init=8.0)
    assert (*model.coef_, model.intercept_) == (3.0, 4.0, 8.0)
    model.fit(*data, coef_init=[1.0, 2.0])
    assert (*model.coef_, model.intercept_) == (1.0, 2.0, 8.0)


# --- partitions of every kind ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [(3_000,), (0, 1_500, 0, 1_500, 0), (1, 2_999), (250,) * 12])
@pytest.mark.parametrize("batch_size", [32, None])
def test_partitions_of_any_size_will_do(rng, seed, chunks, batch_size):
    """One partition for two workers, empty ones, single rows, many."""
    X, y = make_rows(rng)
    model = DaskGDLinearRegressor(random_state=seed, batch_size=batch_size, max_iter=10 if batch_size else 1_000)
    model.set_params(tol=None if batch_size else 1e-6).fit(*partitioned(X, y, chunks=chunks))
    assert model.to_local().score(X, y) >= least_squares_r2(X, y) - 1e-3


def test_lengths_may_be_unknown(rng, seed):
    X, y = make_rows(rng)
    arrays = partitioned(X, y)
    keep = arrays[0][:, 0] > np.median(X[:, 0])
    unknown = [a[keep] for a in arrays]
    model = DaskGDLinearRegressor(random_state=seed).fit(*unknown)
    rows = X[:, 0] > np.median(X[:, 0])
    assert model.to_local().score(X[rows], y[rows]) >= least_squares_r2(X[rows], y[rows]) - 1e-3
    assert_allclose(model.predict(unknown[0]).compute(), model.to_local().predict(X[rows]))


def test_chunks_that_differ_are_rechunked_also_across_columns(rng, seed):
    X, y = make_rows(rng)
    same = DaskGDLinearRegressor(random_state=seed).fit(*partitioned(X, y))
    split = da.from_array(X, chunks=((700, 1_100, 300, 900), 2))
    model = DaskGDLinearRegressor(random_state=seed).fit(split, da.from_array(y, chunks=1_000))
    assert_allclose(model.coef_, same.coef_, rtol=1e-10)


def test_dataframes_give_feature_names_and_series(rng, seed):
    pd = pytest.importorskip("pandas", reason="dask dataframes are made of pandas ones")
    dd = pytest.importorskip("dask.dataframe", reason="dask dataframes")
    X, y = make_rows(rng)
    frame = pd.DataFrame(X, columns=list("abcde")).assign(y=y)
    table = dd.from_pandas(frame, npartitions=4)
    features, target = table[list("abcde")], table["y"]
    model = DaskGDLinearRegressor(random_state=seed).fit(features, target)
    assert list(model.feature_names_in_) == list("abcde")
    local = model.to_local()
    assert local.score(frame[list("abcde")], y) >= least_squares_r2(X, y) - 1e-3
    predicted = model.predict(features).compute()
    assert_array_equal(predicted.index, frame.index)
    assert_allclose(predicted, local.predict(frame[list("abcde")]))
    assert_allclose(model.score(features, target), local.score(frame[list("abcde")], y))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(table[list("edcba")])
    both = DaskGDLinearRegressor(random_state=seed).fit(features, table[["y", "a"]])
    assert both.predict(features).compute().shape == (len(X), 2)


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # of dask's own
def test_columns_of_a_frame_of_parquet_files_have_the_same_partitions(client, tmp_path):
    """Read alone, the files of one column would be read several at once, and those of four one by one."""
    pytest.importorskip("pyarrow", reason="Dask reads Parquet files with pyarrow")
    pd = pytest.importorskip("pandas", reason="dask dataframes are made of pandas ones")
    dd = pytest.importorskip("dask.dataframe", reason="dask dataframes")
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(1_000, 4)), columns=list("abcd"))
    table = table.assign(y=table.a + 2.0 * table.b, s=1.0)
    dd.from_pandas(table, npartitions=8).to_parquet(tmp_path)
    frame = dd.read_parquet(tmp_path)
    for target, weight in ((frame["y"], None), (frame["y"] * 1.0, frame["s"])):
        model = DaskGDLinearRegressor(random_state=0).fit(frame[list("abcd")], target, weight)
        assert_allclose(model.coef_, [1.0, 2.0, 0.0, 0.0], atol=1e-6)
        assert model.score(frame[list("abcd")], target) == pytest.approx(1.0)


# --- what comes back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [None, 3])
def test_predictions_are_lazy_and_equal_the_local_model(rng, seed, k):
    X, y = make_rows(rng, k=k)
    (Xd, yd) = partitioned(X, y, chunks=(0, 1_000, 2_000))
    model = DaskGDLinearRegressor(random_state=seed).fit(Xd, yd)
    predicted = model.predict(Xd)
    assert isinstance(predicted, da.Array)
    assert (predicted.shape, predicted.chunks[0]) == (y.shape, Xd.chunks[0])
    assert_allclose(predicted.compute(), model.to_local().predict(X))
    assert_array_equal(model.predict(X), model.to_local().predict(X))  # NumPy in, NumPy out


@pytest.mark.parametrize(("k", "weighted"), [(None, True), (3, False)])
def test_score_is_that_of_scikit_learn(rng, seed, k, weighted):
    X, y = make_rows(rng, k=k)
    weight = [rng.integers(0, 4, size=len(X)).astype(float)] if weighted else []
    data = partitioned(X, y, *weight)
    model = DaskGDLinearRegressor(random_state=seed).fit(*data)
    assert_allclose(model.score(*data), model.to_local().score(X, y, *weight), rtol=1e-10)


def test_score_takes_a_client_of_its_own(rng, client, monkeypatch):
    X, y = make_rows(rng)
    data = partitioned(X, y)
    model = DaskGDLinearRegressor(random_state=0).fit(*data)
    monkeypatch.setattr("sk_gdlinear.dask.partitions.get_client", None)
    assert_allclose(model.score(*data, client=client), model.to_local().score(X, y), rtol=1e-10)


def test_score_refuses_rows_that_are_not_dask_s(rng):
    X, y = make_rows(rng)
    model = DaskGDLinearRegressor(random_state=0).fit(*partitioned(X, y))
    with pytest.raises(TypeError, match="X must be a dask array.*got ndarray"):
        model.score(X, y)


def test_score_of_dataframes_warns_of_nothing(rng):
    """Warnings are errors in this process, so they are on workers in it."""
    pd = pytest.importorskip("pandas", reason="dask dataframes are made of pandas ones")
    dd = pytest.importorskip("dask.dataframe", reason="dask dataframes")
    X, y = make_rows(rng)
    table = dd.from_pandas(pd.DataFrame(X, columns=list("abcde")).assign(y=y), npartitions=2)
    with distributed.Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0") as own:
        model = DaskGDLinearRegressor(random_state=0).fit(table[list("abcde")], table["y"], client=own)
        model.score(table[list("abcde")], table["y"], client=own)


def test_the_local_model_holds_numpy_only_and_goes_on_alone(rng, seed):
    X, y = make_rows(rng)
    model = DaskGDLinearRegressor(random_state=seed).fit(*partitioned(X, y))
    local = pickle.loads(pickle.dumps(model.to_local()))
    assert type(local) is GDLinearRegressor
    assert local.get_params() == model.get_params()
    assert isinstance(local.coef_, np.ndarray)
    local.partial_fit(X, y)
    assert local.score(X, y) >= least_squares_r2(X, y) - 1e-2
    assert not hasattr(model, "partial_fit")
    assert not hasattr(model, "fit_batches")


def test_a_local_model_that_goes_on_changes_nothing_else(rng, seed, state_of):
    X, y = make_rows(rng)
    model = DaskGDLinearRegressor(random_state=seed).fit(*partitioned(X, y))
    before = state_of(model)
    one, other = (model.to_local().partial_fit(X, y) for _ in range(2))
    assert_array_equal(one.coef_, other.coef_)
    assert state_of(model) == before


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("persist", [True, False])
@pytest.mark.parametrize("where", ["X", "y", "sample_weight"])
def test_an_unfit_value_names_its_partition_and_changes_nothing(rng, state_of, where, persist):
    X, y = make_rows(rng)
    data = dict(X=X, y=y, sample_weight=np.ones(len(X)))
    model = DaskGDLinearRegressor(random_state=0).fit(*partitioned(*data.values()))
    before = state_of(model)
    data[where][2_000] = np.nan  # of partition 2
    with pytest.raises(ValueError, match="In partition 2, counted from 0: .*NaN"):
        model.fit(*partitioned(*data.values(), persist=persist))
    assert state_of(model) == before


def test_rows_that_cannot_be_matched_are_refused(rng):
    X, y = make_rows(rng)
    Xd, yd = partitioned(X, y)
    with pytest.raises(ValueError, match="X has 3000 rows, but y has 2999"):
        DaskGDLinearRegressor().fit(Xd, yd[:-1])
    with pytest.raises(ValueError, match=r"same partitions, got \{'X': 4, 'y': 2\}"):
        DaskGDLinearRegressor().fit(Xd[Xd[:, 0] > 0], yd.rechunk(1_500))
    with pytest.raises(ValueError, match="In partition .*inconsistent numbers of samples"):
        DaskGDLinearRegressor().fit(Xd[Xd[:, 0] > np.median(X[:, 0])], yd)


def test_rows_that_are_not_dask_s_are_refused(rng):
    X, y = make_rows(rng)
    with pytest.raises(TypeError, match="X must be a dask array.*got ndarray"):
        DaskGDLinearRegressor().fit(X, y)


@pytest.mark.parametrize("weight", [0.0, None])
def test_no_rows_at_all_are_refused(rng, weight):
    X, y = make_rows(rng, 0 if weight is None else 10)
    more = [] if weight is None else [np.zeros(10)]
    with pytest.raises(ValueError, match="no rows"):
        DaskGDLinearRegressor().fit(*partitioned(X, y, *more, chunks=(len(X),)))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"loss": "huber", "precondition": False}, "batch_size=None with"),
        ({"penalty": "l1", "learning_rate": 0.1}, "batch_size=None with"),
        ({"positive": True, "standardize": False}, "batch_size=None with"),
        ({"loss": "huber", "schedule": "invscaling"}, "batch_size=None with"),
        ({"loss": "quantile", "batch_size": None, "precondition": False}, "not available on a cluster with"),
        ({"early_stopping": True}, "not available on a cluster"),
    ],
)
def test_parameters_that_do_not_fit_the_method_are_refused(params, message):
    with pytest.raises(ValueError, match=message):
        DaskGDLinearRegressor(**params).fit(*partitioned(np.eye(4), np.ones(4), chunks=(2, 2)))


@pytest.mark.parametrize("k", [None, 2])
def test_more_columns_than_a_matrix_is_made_for_take_rounds_without_one(rng, seed, k, monkeypatch):
    """A matrix for each target, where the second derivative of the loss varies."""
    X, y = make_rows(rng, k=k)
    monkeypatch.setattr("sk_gdlinear.dask.newton_rounds.MOST_COLUMNS", 5 if k else 4)
    with pytest.raises(ValueError, match="batch_size=None with"):
        DaskGDLinearRegressor("huber").fit(*partitioned(X, y))
    model = DaskGDLinearRegressor(random_state=seed, max_iter=10, tol=None).fit(*partitioned(X, y))
    assert model.to_local().score(X, y) >= least_squares_r2(X, y) - 1e-4
    if k:
        model = DaskGDLinearRegressor("huber", random_state=seed).fit(*partitioned(X, y[:, 0]))
        assert model.stop_reason_ == "converged"


def test_parameters_are_checked_before_any_work():
    with pytest.raises(ValueError, match="batch_size"):
        DaskGDLinearRegressor(batch_size=0).fit(None, None)


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "boolean", "Float32", "float32"])
@pytest.mark.parametrize("k", [None, 2])
def test_nullable_columns_are_predicted_with_the_dtype_they_announce(rng, client, dtype, k):
    dd = pytest.importorskip("dask.dataframe", reason="the frames are dask's")
    pd = pytest.importorskip("pandas", reason="the frames are made by pandas")
    X = pd.DataFrame(rng.integers(0, 2, (300, 3)), columns=list("abc"))
    y = X @ rng.normal(size=(3, k) if k else 3)
    frame = dd.from_pandas(X.astype(dtype), npartitions=3)
    model = DaskGDLinearRegressor(random_state=0).fit(frame, dd.from_pandas(y, npartitions=3))
    prediction = model.predict(frame)
    computed = prediction.compute()
    announced = prediction.dtypes if k else prediction.dtype
    assert np.all(announced == (computed.dtypes if k else computed.dtype))
    assert_allclose(computed, model.to_local().predict(X.astype(dtype)), rtol=1e-6)


@pytest.mark.parametrize("kind", ["csr_array", "csc_array", "csr_matrix"])
@pytest.mark.parametrize("batch_size", ["auto", None])
def test_sparse_blocks_give_the_answer_of_dense_ones(rng, client, kind, batch_size):
    sparse = pytest.importorskip("scipy.sparse")
    X = rng.normal(size=(600, 5)) * (rng.random((600, 5)) < 0.4)
    y = da.from_array(X @ np.arange(5.0) + rng.normal(size=600), chunks=200)
    dense = da.from_array(X, chunks=(200, 5))
    blocks = dense.map_blocks(getattr(sparse, kind))
    params = dict(batch_size=batch_size, random_state=0)
    models = [DaskGDLinearRegressor(**params).fit(rows, y) for rows in (dense, blocks)]
    assert_allclose(models[1].coef_, models[0].coef_, rtol=1e-6)
    assert_allclose(models[1].score(blocks, y), models[0].score(dense, y), rtol=1e-6)
    assert_allclose(models[1].predict(blocks).compute(), models[1].predict(dense).compute(), rtol=1e-9)


def test_an_asynchronous_client_is_refused_with_the_cure(rng, client):
    class Asynchronous:
        asynchronous = True

    data = partitioned(*make_rows(rng))
    for call in (DaskGDLinearRegressor().fit, DaskGDLinearRegressor(max_iter=1, tol=None).fit(*data).score):
        with pytest.raises(TypeError, match="asynchronous.*to_thread"):
            call(*data, client=Asynchronous())


def test_a_fit_within_a_task_of_the_only_thread_ends(rng):
    """In processes, so that the worker's client, which stays open, ends with its worker."""
    X, y = make_rows(rng)

    def fit():
        rows, targets = da.from_array(X, chunks=(500, X.shape[1])), da.from_array(y, chunks=500)
        return DaskGDLinearRegressor(random_state=0).fit(rows, targets)

    local = dict(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=":0")
    with distributed.LocalCluster(**local) as cluster, distributed.Client(cluster) as client:
        inside, outside = client.submit(fit, pure=False).result(timeout=60), fit()
    assert_allclose(inside.coef_, outside.coef_, rtol=1e-9)


class Tagged(DaskGDLinearRegressor):
    """A subclass with an argument that has no default."""

    def __init__(self, site, alpha=1e-4):
        super().__init__(alpha=alpha)
        self.site = site


def test_a_subclass_with_a_required_argument_becomes_local(rng):
    model = Tagged("A").fit(*partitioned(*make_rows(rng)))
    assert_allclose(model.to_local().coef_, model.coef_)
