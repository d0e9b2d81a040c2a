"""The regressor on a Dask cluster."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import dask.array as da
import numpy as np
from distributed import get_client
from sklearn.utils.validation import check_is_fitted, validate_data

from ._collections import by_partition, header
from ._compat import with_callbacks
from ._partitions import Partitions, squared_errors
from ._questions import Common
from ._regressor import GDLinearRegressor
from ._rounds import on_cluster
from ._rows import Data
from ._setup import start_at
from ._validation import check_start, make_generator

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class DaskGDLinearRegressor(GDLinearRegressor):
    r"""``GDLinearRegressor`` on dask arrays and dataframes, whose rows stay on the workers.

    The objective, the parameters and the fitted attributes, which are NumPy's, are those of ``GDLinearRegressor``.
    Exact statistics of all rows are added up first. An epoch is then

    - with mini-batches, a *round* of local SGD [1]_: every partition descends over its own rows, or over 6000 random
      batches of them where they are more, from the common weights; the new weights minimise the objective over all
      rows, exactly, over the average of where they arrive, the gradient and all such directions before. Where
      partitions are alike one round is often enough. They may differ as they like, sorted by the target or one
      category in each: that takes a few rounds more. ``average`` is for the local descents. This is for the loss
      "squared_error" with penalty None or "l2".
    - with ``batch_size=None``, one step along the exact gradient :math:`\nabla W = \sum_{\text{partitions}} G^\top X`:
      with a given ``learning_rate`` the same, up to rounding, as ``GDLinearRegressor`` on all rows. This is for every
      penalty and for all losses but "quantile".

    In an epoch a worker is sent and returns a few times the coefficients, O(n_features * n_targets) bytes, whatever
    the number of rows; up to 160 columns once also second moments of a sample, O(n_features**2) bytes, which tell
    when to stop. Rows are read or computed anew once for the statistics and twice a round unless they are persisted:
    call ``persist`` on what fits into the cluster's memory. A lost worker is made good by Dask, and the answer stays
    the same, up to rounding, whichever worker does what; with a lost scheduler ``fit`` raises.

    Parameters
    ----------
    **parameters
        See ``GDLinearRegressor``. With the automatic step each partition takes what is safe on its own rows.

    Attributes
    ----------
    n_iter_ : int
        Rounds, or synchronous steps.
    t_ : int
        Updates made one after the other: in a round, those of the longest partition.

    See Also
    --------
    sk_gdlinear.GDLinearRegressor : The same on one machine; the other attributes are described there.
    sk_gdlinear.ParquetBatches : Files larger than memory on one machine.

    References
    ----------
    .. [1] Sebastian U. Stich, "Local SGD Converges Fast and Communicates Little", ICLR 2019.

    Examples
    --------
    >>> import dask.array as da
    >>> from distributed import Client
    >>> from sk_gdlinear.dask import DaskGDLinearRegressor
    >>> client = Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0")
    >>> X = da.random.default_rng(0).normal(size=(1000, 2), chunks=(250, 2))
    >>> model = DaskGDLinearRegressor(random_state=0).fit(X, 3 * X[:, 0] - X[:, 1] + 7)
    >>> model.coef_.round(3), round(model.intercept_, 3)
    (array([ 3., -1.]), 7.0)
    >>> client.close()
    """

    def fit(  # type: ignore[override] # rows held out would have to be on the workers, too
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
        client = get_client() if client is None else client
        return self._transact(self._fit_cluster, X, y, sample_weight, coef_init, intercept_init, client)

    @with_callbacks
    def _fit_cluster(self, X, y, sample_weight, coef_init, intercept_init, client):
        """Fit; return what to warn of, or None."""
        warm = self.warm_start and hasattr(self, "coef_")
        self._check_available()
        partitions = Partitions(client, X, y, sample_weight)
        validate_data(self, header(X), reset=True, skip_check_array=True)
        settings = self._settings(self.n_features_in_)
        flat, d, k = y.ndim == 1, self.n_features_in_, 1 if y.ndim == 1 else y.shape[1]
        if warm:
            self._check_same_shape(flat, d, k)
        stock = partitions.take_stock(settings)
        if not len(partitions):
            raise ValueError("There are no rows of non-zero weight in any partition.")
        knowledge = stock.knowledge
        if warm and coef_init is None and intercept_init is None:
            start = self._user_weights()
        else:
            start = check_start(coef_init, intercept_init, d, k)
            if intercept_init is None:
                start = start[0], knowledge.mean_intercept(start[0], settings)
        t, generator = (self.t_, self._state["generator"]) if warm else (0, make_generator(self.random_state))
        # The rows lie elsewhere: only their shape and dtype are known here.
        data = Data(*(np.broadcast_to(np.zeros(1, stock.dtype), (knowledge.n_rows, size)) for size in (d, k)))
        descent = on_cluster(partitions, Common(knowledge, settings), data, start_at(*start, False, t))
        past = self._past() if warm else ([], None)
        self._watch(descent, flat, past, (X, y), sample_weight, fit=True)
        reason = descent.run(self.max_iter, self.tol, self.n_iter_no_change, generator if self.shuffle else None)
        self._store(descent, flat, past, reason, knowledge, generator)
        return self._warning()

    def _check_available(self):
        """Raise where the method here does not fit the parameters."""
        if self.early_stopping:
            raise ValueError(
                "early_stopping=True is not available on a cluster, which has no validation sets: got it, allowed is "
                "False. Compare score(X_val, y_val) between fits of few epochs with warm_start=True."
            )
        if self.loss == "quantile":
            raise ValueError(
                "loss='quantile' is not available on a cluster: got it, allowed are 'squared_error', 'huber'."
            )
        quadratic = self.loss == "squared_error" and self.penalty in (None, "l2") and not self.positive
        if not quadratic and self.batch_size is not None:
            raise ValueError(
                f"On a cluster, loss={self.loss!r}, penalty={self.penalty!r}, positive={self.positive} need "
                f"batch_size=None, got {self.batch_size!r}: rounds of mini-batches are for squared errors with penalty "
                "None or 'l2'."
            )

    def predict(self, X: Any) -> Any:
        """Predict targets where the rows lie, lazily.

        Parameters
        ----------
        X : dask array or dataframe of shape (n_samples, n_features)
            Rows to predict for. Anything else is predicted at once, as ``GDLinearRegressor`` does.

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
        """Return R² on dask arrays or dataframes, the mean over targets; rows stay where they lie.

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
        partitions = Partitions(get_client() if client is None else client, X, y, sample_weight)
        validate_data(self, header(X), reset=False, skip_check_array=True)
        targets = partitions.take_stock(
            replace(self._settings(self.n_features_in_), precondition=False)
        ).knowledge.targets
        unit = partitions.mean_weight  # weights come over their mean
        local = self.to_local()
        local.__dict__.pop("feature_names_in_", None)  # checked above; the questions see plain arrays
        (errors,) = partitions.total(squared_errors, local.predict)
        varies = targets.square_deviation > 0
        share = np.divide(unit * errors, targets.square_deviation, out=(errors > 0).astype(float), where=varies)
        return float(np.mean(1.0 - share))

    def to_local(self) -> GDLinearRegressor:
        """Return the plain estimator, with the same parameters and all that was learnt: it can go on by itself.

        Returns
        -------
        local : GDLinearRegressor
            It can go on with no effect on this one.
        """
        local = GDLinearRegressor(**self.get_params())
        learnt = {name: value for name, value in vars(self).items() if name not in self.get_params()}
        if "_state" in learnt:
            learnt["_state"] = deepcopy(self._state)  # its generator moves on
        local.__dict__.update(learnt)
        return local

    @property
    def partial_fit(self) -> Any:  # type: ignore[override] # taken away: hasattr says that it is not here
        """Not here: rows of one chunk are no matter for a cluster."""
        raise AttributeError("DaskGDLinearRegressor has no partial_fit: go on with to_local().partial_fit(X, y).")

    fit_batches = partial_fit  # type: ignore[assignment] # likewise


# The public name is the one pickles hold.
DaskGDLinearRegressor.__module__ = "sk_gdlinear.dask"
