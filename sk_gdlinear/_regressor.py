"""GDLinearRegressor: parameters, validation, fitted attributes.  No mathematics."""

from __future__ import annotations

import warnings
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeAlias

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data

from ._batches import BatchFitting
from ._compat import (
    CallbackSupportMixin,
    Interval,
    StrOptions,
    has_callbacks,
    validate_parameter_constraints,
    with_callbacks,
)
from ._held_out import HeldOut, split_off
from ._objective import LOSSES
from ._persistence import marked, unmarked
from ._rows import Data
from ._schedules import SCHEDULES
from ._setup import AUTO_BATCH_SIZE, Knowledge, Settings, carry_on, make_descent, pack, start_at, unpack
from ._sparse import as_csr, check_indices, issparse
from ._validation import (
    as_dtype,
    as_targets,
    check_alpha,
    check_finite,
    check_learning_rate,
    check_range,
    check_start,
    check_weights,
    make_generator,
)
from ._watchers import Callbacks, Printer

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from scipy.sparse import sparray, spmatrix

    Rows: TypeAlias = ArrayLike | sparray | spmatrix

# From the name of a penalty to the share of its absolute values; None: as the parameter says.
PENALTIES = {"l2": 0.0, "l1": 1.0, "elasticnet": None}

# Rows predicted at once where the arithmetic needs more digits than the data has.
PREDICT_ROWS = 8192


class GDLinearRegressor(BatchFitting, CallbackSupportMixin, MultiOutputMixin, RegressorMixin, BaseEstimator):
    r"""Linear regression by mini-batch gradient descent.

    Minimises the half mean squared error, or another loss, summed over targets, plus a penalty if there is one,

    .. math:: L(W, b) = \frac{1}{\sum_i s_i} \sum_i \frac{s_i}{2} \lVert W x_i + b - y_i \rVert^2
              + \sum_{tj} \alpha_j \left(\rho |w_{tj}| + \tfrac{1 - \rho}{2} w_{tj}^2\right),

    with one update per batch of ``m`` rows, followed by a proximal step for the penalty [3]_,

    .. math::

        G &= (\hat Y - Y) / m, &\qquad \nabla W &= G^\top X, &\qquad \nabla b &= \textstyle\sum_{\text{rows}} G, \\
        && W &\leftarrow W - \eta \nabla W, & b &\leftarrow b - \eta \nabla b.

    By default features need no scaling and no step size need be guessed: the descent runs in centred and scaled
    variables, with the largest step that is safe for them, and reports the average of its iterates in the units of
    the data.  With ``precondition=False, average=False`` and a number for ``learning_rate`` it is plain gradient
    descent, update for update that of ``torch.nn.Linear`` with half of ``MSELoss`` under ``torch.optim.SGD``.

    After its first epoch ``fit`` also reduces the variance of the gradient [4]_, with any loss and penalty: it keeps
    each row's derivative from its last visit and corrects every batch by what it knows of all the others. The descent
    then converges geometrically to the exact optimum, with exact zeros where the penalty has a kink, at the price of
    one number per row and target.  Where features are nearly collinear and that would be slow, gradients are
    multiplied by :math:`(H + \rho I)^{-1}`, ``H`` the second moments of the features and :math:`\rho` chosen for each
    epoch [6]_; this is done without a penalty, on fewer than 160 features.

    Parameters
    ----------
    loss : {"squared_error", "huber", "quantile"}, default="squared_error"
        Loss of an error :math:`e`, prediction less target. "squared_error" is :math:`e^2 / 2`; "huber" is :math:`e^2 /
        2` up to ``epsilon`` and :math:`\epsilon (|e| - \epsilon / 2)` beyond, for targets with outliers; "quantile" is
        :math:`q |e|` where the prediction is too low and :math:`(1 - q) |e|` where it is too high, so that a share
        ``q`` of the targets lies below their predictions.  The kink of the last is smoothed [5]_ over a small part of
        the errors' size, found while descending; ``loss_curve_`` is that of the smoothed loss, which is lower by a
        quarter of the smoothed half-width.
    epsilon : float, default=1.35
        Error beyond which "huber" is linear, above 0, in units of y: 1.35 times the standard deviation of the noise
        loses 5 % of efficiency if the noise is normal.  ``HuberRegressor`` estimates that standard deviation and
        multiplies its ``epsilon`` by it; here nothing is estimated, as in ``SGDRegressor``.
    quantile : float, default=0.5
        The quantile to predict with "quantile", between 0 and 1.
    penalty : {"l2", "l1", "elasticnet"} or None, default=None
        "l2" has the optimum of ``Ridge(alpha * n_samples)``, "l1" that of ``Lasso(alpha)``, "elasticnet" that of
        ``ElasticNet(alpha, l1_ratio)``: the penalty acts on ``coef_`` in the units of the data, whatever
        ``precondition``, and never on the intercept.
    alpha : float or array-like of shape (n_features,), default=1e-4
        Weight of the penalty beside the mean loss, at least 0; an array gives each feature its own.  0 is no penalty.
        In units of the loss per unit of ``coef_`` ("l1") or of its square ("l2").
    l1_ratio : float, default=0.15
        Share :math:`\rho` of "l1" in "elasticnet", from 0 to 1.
    fit_intercept : bool, default=True
        Whether to learn an intercept.  If False, features are scaled but not centred.
    positive : bool, default=False
        Whether coefficients must not be negative; the intercept may be.
    batch_size : int, None or "auto", default="auto"
        Rows per update.  None is one update per epoch from all rows; "auto" is 32.  An epoch makes
        ``ceil(n_samples / batch_size)`` updates; a last, short batch is averaged over its own rows.
    learning_rate : float or "auto", default="auto"
        Step size :math:`\eta`, in coefficients per unit of gradient.  "auto" takes :math:`m / (\beta + (m - 1)
        \lambda_1)` [1]_ with :math:`\beta` the largest squared norm of a (conditioned) row and :math:`\lambda_1` the
        largest eigenvalue of their second-moment matrix, :math:`1 / \lambda_1` where one batch holds all rows, and
        watches every batch: one whose objective is far above that of predicting the mean gets at most the step that
        minimises it.
    schedule : {"constant", "invscaling", "adaptive"}, default="constant"
        How the step moves: not at all; :math:`\eta / t^p` at update ``t = 1, 2, ...`` with ``p = power_t``; divided
        by 5 whenever training would otherwise stop, until it is below a millionth of its start (in ``partial_fit``:
        not at all).
    power_t : float, default=0.25
        Exponent of "invscaling", at least 0.
    precondition : bool, default=True
        Whether to descend in :math:`z = (x - \mu) / s`, per feature, with :math:`s = \max(\sigma, \max|x - \mu| /
        \sqrt m)`, and in centred and scaled targets.  It changes the path, not the objective.  A constant feature
        gets coefficient 0.
    average : bool, default=True
        Whether to report the running average of the iterates [2]_ in place of the last one.  With the automatic step
        the average starts anew when it does worse than the iterates on the way.  Where one batch holds all rows of
        ``fit`` there is no noise to average, and the newest is reported.  With the automatic step ``fit`` reduces the
        variance besides, and sees to nearly collinear features, but not with ``batch_size=None``; if False, it does
        none of it.
    max_iter : int, default=1000
        Epochs at most.
    tol : float or None, default=1e-4
        Training stops when the gain in the training objective still to be expected is at most ``tol`` times the
        objective of the best constant prediction, that is, when less than ``tol`` of training :math:`R^2` is left to
        gain; for other losses than the squared error outliers are left out of that measure.  The expectation
        extrapolates the gains of the last epochs; for squared errors without a penalty, on fewer than 160 columns, it
        is mainly the Newton decrement.  At least 500 updates are made, unless nothing moves any more.  None runs
        ``max_iter`` epochs.
        With a validation set the same is asked of the validation loss: the gain is that on the best epoch so far, and
        the scale is the validation loss of the mean of the training targets.
    n_iter_no_change : int, default=2
        Consecutive epochs in which so little is to be gained before training stops.  With the automatic step, where
        descent is steady, one epoch is enough when less than a quarter of ``tol`` is left.
    shuffle : bool, default=True
        Whether every epoch, and every ``partial_fit``, visits the rows in a new random order.
    early_stopping : bool, default=False
        Whether ``fit`` holds out ``validation_fraction`` of the rows at random, is stopped by the loss on them, and
        reports the coefficients of the epoch at which that was lowest.  A validation set given to ``fit`` does the
        same, whatever ``early_stopping``, and nothing is then split off.  ``partial_fit`` cannot do it.
    validation_fraction : float, default=0.1
        Fraction of the rows held out, between 0 and 1, rounded up to whole rows.
    warm_start : bool, default=False
        Whether ``fit`` starts from the coefficients, the update counter and the random generator of the call before.
        In plain mode ``k`` fits of one epoch then equal one fit of ``k`` epochs; otherwise averaging starts anew in
        each.  ``early_stopping`` holds out the same rows of the same data again.
    random_state : int, RandomState or None, default=None
        Seed of the row orders.  None takes fresh entropy; NumPy's global generator is never used.
    verbose : int, default=0
        1 prints a line per epoch, or per ``partial_fit``: number, training objective and validation loss in squared
        units of y, step size, seconds since the start of the call.  0 prints nothing.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients, of the dtype of X; 1-D if y was.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept, in float64; 0 if ``fit_intercept=False``.
    n_iter_ : int
        Epochs of the last ``fit`` or ``fit_batches``; 1 after ``partial_fit``.
    t_ : int
        Updates made up to the coefficients reported.
    learning_rate_ : float
        Step size of a full batch in the epoch whose coefficients are reported.
    batch_size_ : int
        Rows of a full batch.
    loss_curve_ : list of float
        Training objective of the coefficients that would be reported then, penalty included, after each epoch of
        ``fit``, in squared units of y (of y for "quantile"); after each ``partial_fit``, the objective over its rows.
        Where long data is descended without variance reduction, only the epoch reported is computed in full; the
        differences of the others from it are estimated from a fixed quarter of the rows.
    validation_loss_curve_ : list of float or None
        Loss of the validation set, without the penalty, entry for entry; NaN for a ``partial_fit`` or an epoch without
        one.  None where there has been no validation set.
    best_iter_ : int or None
        Epoch, as a position in the curves counted from 1, with the lowest validation loss, whose coefficients are
        reported.  None where the last call had no validation set.
    stop_reason_ : str or None
        "converged" or, by the validation loss, "early_stopping"; "max_iter"; "callback"; "interrupted".  None after
        ``partial_fit``.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, only if X had string column names.

    See Also
    --------
    sklearn.linear_model.LinearRegression : The exact answer, for data in memory with few columns.
    sklearn.linear_model.SGDRegressor : One row per update; needs scaled features and a tuned step.
    sklearn.linear_model.QuantileRegressor : The exact quantile, by linear programming, for some thousand rows.

    Notes
    -----
    scikit-learn's callbacks, set with ``set_callbacks`` (scikit-learn 1.9 and later), are told of every epoch, and one
    that answers True stops training after it.  Take them off, ``set_callbacks()``, before saving with skops.

    An int ``random_state`` gives the same bits again on one machine with the same installed versions, in any thread or
    process, alone or side by side: models share nothing, and the compiled kernel runs without Python's global lock.  A
    fitted model may be used by many threads at once as long as none fits it.  Another processor, version of NumPy or
    SciPy or number of BLAS threads, and the array engine where the kernel was not built, may round otherwise.

    X is read in C order, or as CSR with sorted and unique indices: other layouts are copied once.  Memory beyond X is
    O(n_samples) small integers and O(n_features), and one number per row and target where variance is reduced. river's
    squared loss and PyTorch's ``MSELoss`` are twice the loss here.

    References
    ----------
    .. [1] S. Ma, R. Bassily and M. Belkin, "The Power of Interpolation: Understanding the Effectiveness of SGD in
       Modern Over-parametrized Learning", ICML 2018, theorem 4.
    .. [2] O. Shamir and T. Zhang, "Stochastic Gradient Descent for Non-smooth Optimization: Convergence Results and
       Optimal Averaging Schemes", ICML 2013, section 4.
    .. [3] L. Xiao and T. Zhang, "A Proximal Stochastic Gradient Method with Progressive Variance Reduction", SIAM
       Journal on Optimization 24, 2014.
    .. [4] B. Ying, K. Yuan and A. H. Sayed, "Variance-Reduced Stochastic Learning Under Random Reshuffling", IEEE
       Transactions on Signal Processing 68, 2020.
    .. [5] M. Fernandes, E. Guerre and E. Horta, "Smoothing Quantile Regressions", Journal of Business & Economic
       Statistics 39, 2021.
    .. [6] J. Yang, Y.-L. Chow, C. Re and M. W. Mahoney, "Weighted SGD for l_p Regression with Randomized
       Preconditioning", Journal of Machine Learning Research 18, 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_gdlinear import GDLinearRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal([0, 1e4], [1e-3, 1e2], size=(2000, 2))
    >>> y = 5e3 * X[:, 0] + 0.02 * X[:, 1] + 7
    >>> model = GDLinearRegressor(random_state=0).fit(X, y)
    >>> round(model.score(X, y), 3)
    1.0

    A tenth of the targets is far off, and the last feature does not matter:

    >>> X = rng.normal(size=(2000, 3))
    >>> y = X @ [1.0, -2.0, 0.0] + 0.1 * rng.normal(size=2000)
    >>> y[::10] += 100.0
    >>> robust = GDLinearRegressor("huber", epsilon=0.2, penalty="l1", alpha=0.02, random_state=0).fit(X, y)
    >>> robust.coef_.round(1)
    array([ 1., -2.,  0.])
    >>> bool(robust.coef_[2] == 0.0)
    True
    """

    coef_: NDArray[np.floating]
    intercept_: float | NDArray[np.float64]
    n_iter_: int
    t_: int
    learning_rate_: float
    batch_size_: int
    loss_curve_: list[float]
    validation_loss_curve_: list[float] | None
    best_iter_: int | None
    stop_reason_: str | None

    # What the HTML representation links to, and without which it shows no tooltips: until there is a site, the source.
    _doc_link_module = "sk_gdlinear"
    _doc_link_template = Path(__file__).as_uri()

    _parameter_constraints = {
        "loss": [StrOptions(set(LOSSES))],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "quantile": [Interval(Real, 0, 1, closed="neither")],
        "penalty": [StrOptions(set(PENALTIES)), None],
        "alpha": [Interval(Real, 0, None, closed="left"), "array-like"],
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "fit_intercept": ["boolean"],
        "positive": ["boolean"],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None, StrOptions({"auto"})],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "schedule": [StrOptions(set(SCHEDULES))],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "precondition": ["boolean"],
        "average": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left"), None],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        loss: str = "squared_error",
        *,
        epsilon: float = 1.35,
        quantile: float = 0.5,
        penalty: str | None = None,
        alpha: ArrayLike = 1e-4,
        l1_ratio: float = 0.15,
        fit_intercept: bool = True,
        positive: bool = False,
        batch_size: int | str | None = "auto",
        learning_rate: float | str = "auto",
        schedule: str = "constant",
        power_t: float = 0.25,
        precondition: bool = True,
        average: bool = True,
        max_iter: int = 1000,
        tol: float | None = 1e-4,
        n_iter_no_change: int = 2,
        shuffle: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.loss = loss
        self.epsilon = epsilon
        self.quantile = quantile
        self.penalty = penalty
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.positive = positive
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.power_t = power_t
        self.precondition = precondition
        self.average = average
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        X: Rows,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: Rows | None = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
        coef_init: ArrayLike | None = None,
        intercept_init: ArrayLike | None = None,
    ) -> Self:
        """Fit the model, from the start unless ``warm_start``.

        Ctrl-C ends training with the model of the last complete epoch, or of the best one with a validation set.
        Before one is complete it is raised and, as with all errors, the model is as it was before.

        Parameters
        ----------
        X : {array-like, sparse matrix or array} of shape (n_samples, n_features)
            Training data, raw.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Target values.
        sample_weight : array-like of shape (n_samples,) or float, default=None
            Weight of each row in the objective; a row of weight 0 equals an absent row.
        X_val : {array-like, sparse matrix or array} of shape (n_val, n_features), default=None
            Validation set: rows to stop by and to choose the best epoch by, never trained on.  In a ``Pipeline``, pass
            ``transform_input=["X_val"]`` so that it is transformed as X is.
        y_val : array-like of shape (n_val,) or (n_val, n_targets), default=None
            Its target values.
        sample_weight_val : array-like of shape (n_val,) or float, default=None
            Its weights.
        coef_init : array-like of shape (n_features,) or (n_targets, n_features), default=None
            Coefficients to start from, in the units of the data; 0 by default.
        intercept_init : float or array-like of shape (n_targets,), default=None
            Intercept to start from.  By default 0 in plain mode, else the mean of y.

        Returns
        -------
        self : GDLinearRegressor
            The fitted model.

        Raises
        ------
        ValueError
            If parameters or data are unfit for use, or if the given ``learning_rate`` makes training diverge.  The
            model is then as it was before.

        Warns
        -----
        ConvergenceWarning
            If ``max_iter`` epochs were not enough for ``tol``, or if training was interrupted.
        """
        validation = (X_val, y_val, sample_weight_val)
        return self._transact(self._fit, X, y, sample_weight, validation, coef_init, intercept_init)

    def partial_fit(self, X: Rows, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Make one pass over a chunk of rows, in mini-batches, going on from all calls before.

        The statistics of the data, the step, the average, the counters and the row orders carry on; the first call
        needs no ``fit`` before it, and a chunk may be a single row.  Weights enter over the mean weight of all rows
        seen so far, this chunk included. Coefficients set by hand between two calls are taken as the new start.

        Parameters
        ----------
        X : {array-like, sparse matrix or array} of shape (n_samples, n_features)
            Rows of the chunk, raw.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Target values.
        sample_weight : array-like of shape (n_samples,) or float, default=None
            Weight of each row.  A chunk of zero weights only changes nothing; as the first one it is an error.

        Returns
        -------
        self : GDLinearRegressor
            The updated model.

        Raises
        ------
        ValueError
            If parameters or data are unfit for use, do not match the calls before, or if the given ``learning_rate``
            makes training diverge.  The model is then as it was before.
        """
        return self._transact(self._partial_fit, X, y, sample_weight)

    def predict(self, X: Rows) -> NDArray[np.floating]:
        """Predict targets, ``X @ coef_.T + intercept_``.

        Parameters
        ----------
        X : {array-like, sparse matrix or array} of shape (n_samples, n_features)
            Rows to predict for.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Predictions, 1-D if the y fitted was; float32 for float32 X.
        """
        check_is_fitted(self)
        if issparse(X):
            check_indices(X)
        X = validate_data(self, X, accept_sparse="csr", reset=False, dtype=[np.float64, np.float32])
        if issparse(X):
            X = as_csr(X)
        coef = np.asarray(self.coef_, dtype=np.float64)
        if X.dtype == np.float64:
            return X @ coef.T + self.intercept_
        # The offsets of float32 features may exceed their spread by so much that sums in float32 would hold few true
        # digits.
        prediction = np.empty((X.shape[0], *coef.shape[:-1]), dtype=X.dtype)
        for start in range(0, X.shape[0], PREDICT_ROWS):
            rows = slice(start, start + PREDICT_ROWS)
            prediction[rows] = X[rows].astype(np.float64) @ coef.T + self.intercept_
        return prediction

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def __getstate__(self):
        return marked(super().__getstate__())

    def __setstate__(self, state):
        state = unmarked(state)
        for name, default in type(self)().get_params(deep=False).items():
            state.setdefault(name, default)  # a parameter that the release which saved the model did not have
        super().__setstate__(state)

    def _transact(self, method, *args):
        """Call ``method`` and warn of what it returns; if it raises, leave every attribute as it was."""
        check_learning_rate(self.learning_rate)
        parameters = {name: getattr(self, name) for name in self._parameter_constraints}
        validate_parameter_constraints(self._parameter_constraints, parameters, caller_name=type(self).__name__)
        attributes = vars(self).copy()
        generator = attributes.get("_state", {}).get("generator")
        position = None if generator is None else generator.bit_generator.state
        users = self.random_state if isinstance(self.random_state, np.random.RandomState) else None
        users_position = None if users is None else users.get_state()
        try:
            if (warning := method(*args)) is not None:
                warnings.warn(warning, ConvergenceWarning, stacklevel=3)
            return self
        except BaseException:
            vars(self).clear()
            vars(self).update(attributes)
            if generator is not None:
                generator.bit_generator.state = position
            if users is not None:
                users.set_state(users_position)
            raise

    def _validate(self, X, y, sample_weight, reset):
        """Return the rows ``X, Y, sample_weight``, Y 2-D, and whether y is 1-D; that X is finite is seen later."""
        if issparse(X):
            check_indices(X)
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            reset=reset,
            dtype=[np.float64, np.float32],
            order="C",
            multi_output=True,
            y_numeric=True,
            ensure_all_finite=False,
        )
        if issparse(X):
            X = as_csr(X)
        sample_weight = check_weights(sample_weight, X)
        if sample_weight is not None and not sample_weight.any() and reset:
            raise ValueError("All sample weights are zero: at least one weight must be non-zero.")
        return X, as_targets(y, X.dtype), sample_weight, y.ndim == 1

    def _take_in(self, knowledge, X, Y, sample_weight):
        """Add the rows to the statistics and return them as ``Data``; raise if X is not finite."""
        data = knowledge.add(X, Y, sample_weight)
        known = knowledge.features is not None and data.kept is None
        check_finite(X, knowledge.features.mean if known else None, type(self).__name__)
        check_range(knowledge.targets.mean, "y")
        return data

    def _settings(self, d):
        loss, names, has_kink = LOSSES[self.loss]
        loss = partial(loss, **{name: getattr(self, name) for name in names})
        alpha = 0.0 if self.penalty is None else check_alpha(self.alpha, d)
        share = PENALTIES.get(self.penalty)
        l1_ratio = self.l1_ratio if share is None else share
        batch_size = AUTO_BATCH_SIZE if self.batch_size == "auto" else self.batch_size
        step = None if self.learning_rate == "auto" else float(self.learning_rate)
        return Settings(
            loss,
            has_kink,
            alpha,
            l1_ratio,
            self.positive,
            batch_size,
            step,
            self.schedule,
            self.power_t,
            self.precondition,
            self.average,
            self.fit_intercept,
            self.shuffle,
        )

    @with_callbacks
    def _fit(self, X, y, sample_weight, validation, coef_init, intercept_init):
        """Fit; return what to warn of, or None."""
        given, warm = (X, y), self.warm_start and hasattr(self, "coef_")
        X, Y, sample_weight, flat = self._validate(X, y, sample_weight, reset=True)
        d, k = X.shape[1], Y.shape[1]
        if warm:
            self._check_same_shape(flat, d, k)
        settings = self._settings(d)
        t, generator = (self.t_, self._state["generator"]) if warm else (0, make_generator(self.random_state))
        held_out, training_weight = self._hold_out(X, Y, sample_weight, flat, validation, warm, generator)
        knowledge = Knowledge.empty(d, k, settings)
        data = self._take_in(knowledge, X, Y, training_weight)
        coef, intercept = check_start(coef_init, intercept_init, d, k)
        if warm:
            fitted = self._user_weights()
            coef, intercept = (
                fitted[0] if coef_init is None else coef,
                fitted[1] if intercept_init is None else intercept,
            )
        elif intercept_init is None:
            intercept = knowledge.mean_intercept(coef, settings)
        descent = make_descent(data, knowledge, settings, start_at(coef, intercept, self.average, t), stream=False)
        if held_out is not None:
            descent.held_out = HeldOut(held_out, *descent.sharpest_loss())
        past = self._past() if warm else ([], None)
        self._watch(descent, flat, past, given, sample_weight, fit=True)
        rng = generator if self.shuffle else None
        reason = descent.run(self.max_iter, self.tol, self.n_iter_no_change, rng)
        self._store(descent, flat, past, reason, knowledge, generator)
        return self._warning()

    @with_callbacks
    def _partial_fit(self, X, y, sample_weight):
        """Take in a chunk."""
        if self.early_stopping:
            raise ValueError(
                "early_stopping=True holds rows out in fit; partial_fit learns from every row it is given. Set "
                "early_stopping=False and compare score(X_val, y_val) between calls, or pass X_val and y_val to fit."
            )
        given, first = (X, y), not hasattr(self, "coef_")
        X, Y, sample_weight, flat = self._validate(X, y, sample_weight, reset=first)
        d, k = X.shape[1], Y.shape[1]
        settings, touched, conditioning, smoothing = self._settings(d), False, None, None
        if first:
            knowledge, generator = Knowledge.empty(d, k, settings), make_generator(self.random_state)
        else:
            self._check_same_shape(flat, d, k)
            if sample_weight is not None and not sample_weight.any():
                return
            dtype = self.coef_.dtype
            X, Y = as_dtype(X, dtype), as_targets(Y, dtype)
            iterate, conditioning, knowledge = unpack(self._state, settings)
            generator, smoothing = self._state["generator"], self._state["smoothing"]
        data = self._take_in(knowledge, X, Y, sample_weight)
        if first:
            coef = np.zeros((k, d))
            place = start_at(coef, knowledge.mean_intercept(coef, settings), self.average)
        elif touched := self._touched():
            place = start_at(*self._user_weights(), self.average, self.t_)
        else:
            place = carry_on(iterate, conditioning)
        descent = make_descent(data, knowledge, settings, place, stream=True, before=conditioning, smoothing=smoothing)
        past = ([], None) if first else self._past()
        start = descent.objective()[0] if touched else 0.0
        self._watch(descent, flat, past, given, sample_weight, fit=False)
        descent.take_in(generator if self.shuffle else None, start, len(past[0]) + 1)
        self._store(descent, flat, past, None, knowledge, generator)

    def _hold_out(self, X, Y, sample_weight, flat, validation, warm, generator):
        """Return the rows to judge by, or None, and the weights to train with."""
        if any(given is not None for given in validation):
            return self._validation_set(X, Y, flat, *validation), sample_weight
        if not self.early_stopping:
            return None, sample_weight
        if not (warm and hasattr(self, "_split_seed")):  # rows once held out stay so
            self._split_seed = int(generator.integers(2**32))
        return split_off(X, Y, sample_weight, self.validation_fraction, self._split_seed)

    def _validation_set(self, X, Y, flat, X_val, y_val, sample_weight_val):
        """Return the validation set, validated, as rows like those of ``X, Y``."""
        if X_val is None or y_val is None:
            missing = "X_val" if X_val is None else "y_val"
            raise ValueError(f"A validation set needs both X_val and y_val: {missing} was not given.")
        try:
            V, Y_val, weight, flat_val = self._validate(X_val, y_val, sample_weight_val, reset=False)
            V, Y_val = as_dtype(V, X.dtype), as_targets(Y_val, Y.dtype)
            check_finite(V, None, type(self).__name__)
            if weight is not None and not weight.any():
                raise ValueError("all sample_weight_val are zero; at least one must not be.")
        except ValueError as error:
            raise ValueError(f"The validation set (X_val, y_val, sample_weight_val) cannot be used: {error}") from error
        if flat_val != flat or Y_val.shape[1] != Y.shape[1]:
            raise ValueError(
                f"y_val must have the dimensions and targets of y: got shapes {np.shape(y_val)} and "
                f"{Y[:, 0].shape if flat else Y.shape}."
            )
        return Data(V, Y_val, weight)

    def _check_same_shape(self, flat, d, k):
        """Raise if targets, or a warm start's features, are not those of the calls before."""
        shape = np.shape(self.coef_)
        if shape != ((d,) if flat else (k, d)):
            raise ValueError(
                f"The model was fitted with coef_ of shape {shape}, but this data has {d} features and y of "
                f"{'1 dimension' if flat else f'2 dimensions with {k} targets'}. Pass data of the same shape, or call "
                "fit with warm_start=False."
            )

    def _user_weights(self):
        """Return coef_ and intercept_ with one row per target."""
        return np.atleast_2d(self.coef_), np.atleast_1d(self.intercept_)

    def _touched(self):
        """Whether coef_ or intercept_ was set by hand since the last call."""
        pairs = zip(self._user_weights(), self._state["reported"], strict=True)
        return not all(np.array_equal(now, reported) for now, reported in pairs)

    def _past(self):
        """Return the curves of the calls before."""
        return self.loss_curve_, self.validation_loss_curve_

    def _watch(self, descent, flat, past, given, sample_weight, *, fit):
        """Have the lines of ``verbose`` printed and the callbacks called."""
        if self.verbose:
            descent.watchers.append(Printer() if fit else Printer("call", len(past[0]) + 1))
        if has_callbacks(self):
            task = ("fit", self.max_iter, descent.n_segments) if fit else ("partial_fit", 0, 0)

            def attributes():
                return self._attributes(descent, flat, past, None)

            descent.watchers.append(Callbacks(self, *given, sample_weight, attributes, *task))

    def _attributes(self, descent, flat, past, reason):
        """Return the fitted attributes as they would be if training ended now."""
        coef, intercept = descent.conditioning.to_user(*descent.answer)
        curve, validation_curve = past
        validated = descent.held_out is not None
        if validated or validation_curve is not None:
            before = [np.nan] * len(curve) if validation_curve is None else validation_curve
            validation_curve = [*before, *(epoch.validation for epoch in descent.history)]
        return {
            "coef_": coef[0] if flat else coef,
            "intercept_": float(intercept[0]) if flat else intercept,
            "n_iter_": len(descent.history),
            "t_": descent.iterate.t,
            "learning_rate_": descent.current_step,
            "batch_size_": descent.batch_size,
            "loss_curve_": [*curve, *(epoch.objective for epoch in descent.history)],
            "validation_loss_curve_": validation_curve,
            "best_iter_": len(curve) + descent.held_out.best_epoch if validated else None,
            "stop_reason_": reason,
        }

    def _store(self, descent, flat, past, reason, knowledge, generator):
        """Set the fitted attributes, and close what watches."""
        vars(self).update(self._attributes(descent, flat, past, reason))
        self._state = pack(descent, knowledge, generator, tuple(a.copy() for a in self._user_weights()))
        for watcher in descent.watchers:
            watcher.end()

    def _warning(self):
        """Return what to warn of after ``fit``, or None."""
        if self.stop_reason_ == "interrupted":
            return (
                f"Training was interrupted after {self.n_iter_} complete epochs. The model is that of the last, "
                "or of the best with a validation set; fit with warm_start=True goes on from it."
            )
        if self.stop_reason_ == "max_iter" and self.tol is not None:
            return (
                f"max_iter={self.max_iter} epochs were not enough to come within tol={self.tol:g}. Raise max_iter or "
                "tol; if features are nearly collinear, remove some, or use sklearn.linear_model.Ridge."
            )
        return None
