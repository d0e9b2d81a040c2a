"""The regressor on a Dask cluster."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import dask.array as da
import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data

from .._compat import with_callbacks
from .._data.checks import check_start, make_generator
from .._descent.rent_or_buy import MOST_COLUMNS
from .._fit.build import adapt, from_coef, make_objective, standardize
from .._fit.certificate import NOT_CERTAIN
from .._fit.loop import fit_loop
from .._fit.monitors import end_all
from .._fit.report import attributes_after, warning_after
from ..base import GDLinearModel
from ..estimator import GDLinearRegressor
from .cluster import Cluster
from .collections import by_partition, header
from .local_sgd import LocalSGD
from .newton_rounds import NewtonRounds, allows_newton_rounds
from .partitions import Partitions, cluster_client
from .synchronous import SynchronousDescent
from .tasks import Broadcast, squared_errors

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class DaskGDLinearRegressor(GDLinearModel):
    r"""``GDLinearRegressor`` on dask arrays and dataframes, whose rows stay on the workers.

    The objective, the parameters and the fitted attributes, which are NumPy's, are those of ``GDLinearRegressor``.
    First the exact statistics of all rows are computed. An epoch is then

    - at first a *round* of local SGD [1]_: every partition descends from the common parameters over its own rows, or
      over 6000 random batches of them where there are more, and the parameters reached are averaged. ``average`` and
      ``batch_size`` are for these descents. The second moments of all rows are computed in the same task.
    - then a proximal Newton step [2]_ from the exact gradient of all rows, the sum of the partitions' gradients. For
      squared errors with any penalty the second round is at the optimum; "huber" and other smooth losses take up to
      about five; "quantile" takes more, since its kink is smoothed less and less. Where partitions are alike the first
      round is often enough. What is left to gain is known over all rows after every round, and ``tol`` is compared
      with it.

    These rounds need ``standardize=True``, the automatic step, ``precondition`` other than False, and at most 4096
    columns (for losses other than the squared error columns times the root of the targets). Without them there are

    - for squared errors with penalty None or "l2", rounds of local SGD: the new parameters minimise the objective over
      all rows, exactly, along the direction to the average of the parameters reached, the gradient, and the directions
      of the rounds before.
    - with ``batch_size=None``, steps along the exact gradient :math:`\nabla W = \sum_{\text{partitions}} G^\top X`:
      with a given ``learning_rate`` the result is that of ``GDLinearRegressor`` on all rows, up to rounding. This is
      for every penalty and for all losses without a kink (not "quantile").

    Both stop when the gain to be expected from the last rounds is at most ``tol``; that is no proof, so
    ``stop_reason_`` is then "no_change".

    A partition returns about ``8 * n_features**2`` bytes once, with its second moments, and in every further round a
    few times the coefficients, whatever the number of rows. For losses other than the squared error, whose curvature
    changes, it is ``8 * n_features**2`` bytes for each target in every round. Rows that are not persisted are read or
    computed again once for the statistics, twice in the first round, and once or a few times in each further one: call
    ``persist`` on what fits into the memory of the cluster. Dask computes the work of a lost worker again, and the
    result is the same up to rounding; if the scheduler is lost, ``fit`` raises.

    Parameters
    ----------
    **parameters
        See ``GDLinearRegressor``. With the automatic step each partition takes the step that is safe for its own rows.

    Attributes
    ----------
    n_iter_ : int
        Rounds, or synchronous steps.
    t_ : int
        Updates made one after the other: in a round of local SGD those of the longest partition; a Newton step is one.

    See Also
    --------
    sk_gdlinear.GDLinearRegressor : The same on one machine; the other attributes are described there.
    sk_gdlinear.ParquetBatches : Files larger than memory on one machine.

    References
    ----------
    .. [1] Sebastian U. Stich, "Local SGD Converges Fast and Communicates Little", ICLR 2019.
    .. [2] Jason D. Lee, Yuekai Sun and Michael A. Saunders, "Proximal Newton-type Methods for Minimizing Composite
       Functions", SIAM Journal on Optimization 24, 2014.

    Examples
    --------
    >>> import dask.array as da
    >>> from distributed import Client
    >>> from sk_gdlinear.dask import DaskGDLinearRegressor
    >>> client = Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0")
    >>> X = da.random.default_rng(0).normal(size=(1000, 2), chunks=(250, 2))
    >>> model = DaskGDLinearRegressor(random_state=0).fit(X, 3 * X[:, 0] - X[:, 1] + 7)
    >>> model.coef_.round(1), round(float(model.intercept_), 1)
    (array([ 3., -1.]), 7.0)
    >>> client.close()
    """

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        coef_init: ArrayLike | None = None,
        intercept_init: ArrayLike | None = None,
        client: Any = None,
    ) -> Self:
        """Fit the model, from the start unless ``warm_start``.

        Parameters
        ----------
        X : dask array or dataframe of shape (n_samples, n_features)
            Training data, raw. Lengths may be unknown, partitions empty or of different sizes.
        y : dask array, series or dataframe of shape (n_samples,) or (n_samples, n_targets)
            Target values; where its partitions are not those of X it is rechunked, which needs known lengths.
        sample_weight : dask array or series of shape (n_samples,), default=None
            Weight of each row in the objective.
        coef_init, intercept_init : array-like, default=None
            See ``GDLinearRegressor.fit``.
        client : distributed.Client, default=None
            By default the newest one.

        Returns
        -------
        self : DaskGDLinearRegressor
            The fitted model.

        Raises
        ------
        ValueError
            If parameters or data are unfit for use; it names the partition, counted from 0.
        RuntimeError
            If the connection to the scheduler is lost.

        The model is then as it was before.
        """
        with cluster_client(client) as client:
            self._transact(self._fit_cluster, X, y, sample_weight, coef_init, intercept_init, client)
        return self._raise_if_interrupted()

    @with_callbacks
    def _fit_cluster(self, X, y, sample_weight, coef_init, intercept_init, client):
        """Fit; return a warning, or None."""
        warm = self.warm_start and hasattr(self, "coef_")
        partitions = Partitions(client, X, y, sample_weight)
        validate_data(self, header(X), reset=not warm, skip_check_array=True)
        flat, d, k = y.ndim == 1, self.n_features_in_, 1 if y.ndim == 1 else y.shape[1]
        self._check_available(d, k)
        if warm:
            self._check_same_shape(flat, d, k)
        result = partitions.compute_statistics(self.standardize)
        if not len(partitions):
            raise ValueError("There are no rows of non-zero weight in any partition.")
        statistics = result.statistics
        hyper = self._hyperparameters(d, k)
        self._check_own(hyper, statistics)
        coef, intercept = check_start(coef_init, intercept_init, d, k)
        if warm:
            fitted = self._fitted_parameters()
            coef = fitted[0] if coef_init is None else coef
            intercept = fitted[1] if intercept_init is None else intercept
        elif intercept_init is None:
            intercept = statistics.mean_intercept(coef, hyper.fit_intercept)
        t, generator = self._carried() if warm else (0, make_generator(self.random_state))
        standardization = standardize(statistics, hyper, d, k, result.dtype)
        cluster = Cluster(partitions, Broadcast(statistics, hyper, make_objective(statistics, hyper, standardization)))
        iterate = adapt(from_coef(coef, intercept, False, t)(standardization), hyper, average=False)
        if allows_newton_rounds(hyper, d, k):
            kind = NewtonRounds
        else:
            kind = SynchronousDescent if hyper.batch_size is None else LocalSGD
        method = kind.from_iterate(cluster, iterate)
        past = self._past() if warm else ([], None)

        def attributes(result):
            return attributes_after(result, self.penalty, flat, past)

        monitors = self._monitors(attributes, (X, y, sample_weight), "fit", len(past[0]))
        rng = generator if self.shuffle else None
        result = fit_loop(method, self.max_iter, self.tol, self.n_iter_no_change, rng, monitors=monitors)
        if result.stop_reason == "converged":
            is_certain = kind is NewtonRounds and (not method.is_stuck or result.left <= self.tol)
            result = result if is_certain else replace(result, stop_reason=NOT_CERTAIN)
        self._store(attributes(result), method, statistics, generator)
        end_all(monitors, result.stop_reason, method.notes)
        return warning_after(result, self.max_iter, self.tol)

    def _check_available(self, d, k):
        """Raise if the parameters are not available on a cluster."""
        if self.early_stopping:
            raise ValueError(
                "early_stopping=True is not available on a cluster, which has no validation sets: got it, allowed is "
                "False. Compare score(X_val, y_val) between fits of few epochs with warm_start=True."
            )
        hyper = self._hyperparameters(d, k)
        if allows_newton_rounds(hyper, d, k):
            return
        why = (
            "standardize=False, a learning_rate or schedule of your own, precondition=False, or more than "
            f"{MOST_COLUMNS:,} columns (got {d:,} and {k:,} targets)"
        )
        if np.isinf(hyper.loss.lipschitz):
            raise ValueError(
                f"loss={self.loss!r} has a kink and is not available on a cluster with {why}: allowed are then "
                "'squared_error', 'huber' and your own losses without one."
            )
        if not hyper.is_quadratic and self.batch_size is not None:
            raise ValueError(
                f"On a cluster, loss={self.loss!r}, penalty={self.penalty!r}, positive={self.positive} need "
                f"batch_size=None with {why}, got batch_size={self.batch_size!r}: rounds of mini-batches are then for "
                "squared errors with penalty None or 'l2'."
            )

    def predict(self, X: Any) -> Any:
        """Predict targets lazily, on the workers that have the rows.

        Parameters
        ----------
        X : dask array or dataframe of shape (n_samples, n_features)
            Rows to predict for. Other input is predicted at once, as by ``GDLinearRegressor``.

        Returns
        -------
        y : dask array, series or dataframe of shape (n_samples,) or (n_samples, n_targets)
            Predictions, of the kind of X.
        """
        check_is_fitted(self)
        if isinstance(X, da.Array) or hasattr(X, "to_delayed"):
            validate_data(self, header(X), reset=False, skip_check_array=True)
            return by_partition(self.to_local().predict, X, np.shape(self.coef_)[:-1])
        return super().predict(X)

    def score(self, X: Any, y: Any, sample_weight: Any = None, *, client: Any = None) -> float:
        """Return R² on dask arrays or dataframes, the mean over targets; rows are not moved.

        Parameters
        ----------
        X, y : dask collections
            As in ``fit``.
        sample_weight : dask collection, default=None
            As in ``fit``.
        client : distributed.Client, default=None
            By default the newest one.

        Returns
        -------
        score : float
            R²; at a constant target 1 if it is met exactly, else 0.
        """
        check_is_fitted(self)
        with cluster_client(client) as client:
            return self._score(Partitions(client, X, y, sample_weight), X)

    def _score(self, partitions, X):
        """Return R² over all partitions."""
        validate_data(self, header(X), reset=False, skip_check_array=True)
        targets = partitions.compute_statistics(standardize=False).statistics.targets
        unit = partitions.mean_weight  # weights come over their mean
        local = self.to_local()
        local.__dict__.pop("feature_names_in_", None)  # checked above; the tasks see plain arrays
        (errors,) = partitions.map_reduce(squared_errors, local.predict)
        varies = targets.square_deviation > 0
        share = np.divide(unit * errors, targets.square_deviation, out=(errors > 0).astype(float), where=varies)
        return float(np.mean(1.0 - share))

    def to_local(self) -> GDLinearRegressor:
        """Return the plain estimator, with the same parameters and fitted attributes.

        Returns
        -------
        local : GDLinearRegressor
            It can be trained further, without an effect on this one.
        """
        names = GDLinearRegressor().get_params()
        local = GDLinearRegressor(**{name: getattr(self, name) for name in names})
        learnt = {name: value for name, value in vars(self).items() if name not in self.get_params()}
        if "_state" in learnt:
            learnt["_state"] = deepcopy(self._state)  # its generator moves on
        local.__dict__.update(learnt)
        return local
