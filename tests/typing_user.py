"""A user's script for type checkers, which must accept it as it is: mypy and pyright read it, nobody runs it.

Each call that must be refused is marked for both, and a mark on a call that is accepted is an error
(``warn_unused_ignores``, ``reportUnnecessaryTypeIgnoreComment``).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sk_gdlinear import GDLinearRegressor, LossCurveDisplay, ParquetBatches, backend, losses, penalties

Array = NDArray[np.float64]


class Expectile:
    """A loss of the user's own."""

    lipschitz: float = 0.9

    def value(self, error: Array) -> Array:
        return np.where(error < 0.0, 0.9, 0.1) * error**2 / 2.0

    def derivative(self, e: Array) -> Array:
        return np.where(e < 0.0, 0.9, 0.1) * e


class HalfRidge:
    """A penalty of the user's own."""

    def value(self, w: Array) -> float:
        return 0.5 * float(w @ w)

    def proximal(self, w: Array, step: Array) -> Array:
        return w / (1.0 + step)


def halve(t: NDArray[np.int64]) -> Array:
    """A schedule of the user's own."""
    return np.power(0.5, t // 1000)


def chunks() -> Iterator[tuple[Array, Array]]:
    """The chunks of an epoch."""
    yield np.ones((3, 2)), np.ones(3)


X, y = np.ones((10, 2)), np.ones(10)


def parameters() -> None:
    GDLinearRegressor()
    GDLinearRegressor("huber", epsilon=2, penalty="l1", alpha=0.1)
    GDLinearRegressor(loss="quantile", quantile=0.9, penalty="elasticnet", alpha=[0.1, 0.0], l1_ratio=0.5)
    GDLinearRegressor(batch_size=None, learning_rate=0.1, schedule="invscaling", standardize=False, average=False)
    GDLinearRegressor(precondition=False, average=True, max_iter=10, early_stopping=True, validation_fraction=0.2)
    GDLinearRegressor(batch_size=64, learning_rate="auto", schedule=halve, tol=None, random_state=0, verbose=1)
    GDLinearRegressor(losses.Huber(2.0), penalty=penalties.L2(0.1), random_state=np.random.RandomState(0))
    GDLinearRegressor(losses.Quantile(0.9), penalty=penalties.Box(0.0, 1.0))
    GDLinearRegressor(losses.SquaredError(), penalty=penalties.ElasticNet(0.1, 0.5))
    GDLinearRegressor(Expectile(), penalty=HalfRidge())


def data() -> GDLinearRegressor:
    model = GDLinearRegressor().fit(X, y)
    model = GDLinearRegressor().fit([[0.0], [1.0]], [0.0, 1.0], sample_weight=[1, 2])
    model.fit(sparse.csr_array(X), y, X_val=X, y_val=y, coef_init=[0.0, 0.0])
    model.partial_fit(X, y).partial_fit(X, y, np.ones(10))
    model.fit_batches(chunks, epochs=2).fit_batches([(X, y)], epochs=1, checkpoint="model.checkpoint", progress=True)
    model.fit_batches(ParquetBatches("rows.parquet", "y", weight="w", random_state=0), epochs=3)
    model.fit_batches(chunks, epochs=2, X_val=sparse.csr_array(X), y_val=y, sample_weight_val=[1.0] * 10)
    for rows, targets in ParquetBatches("rows.parquet", "y"):
        model.partial_fit(rows, targets)
    return model


def results(model: GDLinearRegressor) -> None:
    prediction: NDArray[np.floating] = model.predict(X)
    epochs: int = model.n_iter_
    curve: list[float] = model.loss_curve_
    why: str | None = model.stop_reason_
    best: int | None = model.best_iter_
    coefficients: NDArray[np.floating] = model.coef_
    LossCurveDisplay.from_estimator(model, name="default")
    LossCurveDisplay(loss_curve=curve, step="call of partial_fit")
    with backend("reference"):
        model.predict(X)
    print(prediction, epochs, curve, why, best, coefficients)


def refused(name: str) -> None:
    GDLinearRegressor("L2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    GDLinearRegressor(name)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    GDLinearRegressor(HalfRidge())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    GDLinearRegressor(penalty="L2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    GDLinearRegressor(penalty=Expectile())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    GDLinearRegressor(batch_size="all")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    GDLinearRegressor(batch_size=0.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    GDLinearRegressor(learning_rate="constant")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    GDLinearRegressor(learning_rate=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    GDLinearRegressor(schedule="optimal")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    GDLinearRegressor(precondition="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    GDLinearRegressor(alpha=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    GDLinearRegressor("huber", 1.35)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    GDLinearRegressor(eta0=0.1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    GDLinearRegressor().fit(X)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    GDLinearRegressor().fit_batches(chunks)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    backend("fast")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
