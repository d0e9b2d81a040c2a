"""GDLinearRegressor: parameters, validation, fitted attributes.  No mathematics."""

import time
import warnings
from functools import partial
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data

from ._compat import Interval, StrOptions, validate_parameter_constraints
from ._objective import LOSSES
from ._schedules import SCHEDULES
from ._setup import AUTO_BATCH_SIZE, Knowledge, Settings, carry_on, make_descent, pack, start_at, unpack
from ._validation import (
    as_targets,
    check_alpha,
    check_finite,
    check_learning_rate,
    check_start,
    check_weights,
    make_generator,
)

# From the name of a penalty to the share of its absolute values; None: as the parameter says.
PENALTIES = {"l2": 0.0, "l1": 1.0, "elasticnet": None}

# Rows predicted at once where the arithmetic needs more digits than the data has.
PREDICT_ROWS = 8192


class GDLinearRegressor(MultiOutputMixin, RegressorMixin, BaseEstimator):
    r"""Linear regression by mini-batch gradient descent.

    Minimises the half mean squared error, or another loss, summed over targets, plus a penalty if there is one,

    .. math:: L(W, b) = \frac{1}{\sum_i s_i} \sum_i \frac{s_i}{2} \lVert W x_i + b - y_i \rVert^2
              + \sum_{tj} \alpha_j \left(\rho |w_{tj}| + \tfrac{1 - \rho}{2} w_{tj}^2\right),

    with one update per batch of ``m`` rows, followed by a proximal step for the penalty [3]_,

    .. math::

        G = (\hat Y - Y) / m, \qquad \nabla W = G^\top X, \qquad \nabla b = \textstyle\sum_{\text{rows}} G, \qquad
        W \leftarrow W - \eta \nabla W, \qquad b \leftarrow b - \eta \nabla b.

    By default features need no scaling and no step size need be guessed: the descent runs in centred and scaled
    variables, with the largest step that is safe for them, and reports the average of its iterates in the units of
    the data.  With ``precondition=False, average=False`` and a number for ``learning_rate`` it is plain gradient
    descent, update for update that of ``torch.nn.Linear`` with half of ``MSELoss`` under ``torch.optim.SGD``.

    After its first epoch ``fit`` also reduces the variance of the gradient [4]_, with any loss and penalty: it keeps
    each row's derivative from its last visit and corrects every batch by what it knows of all the others. The descent
    then converges geometrically to the exact optimum, with exact zeros where the penalty has a kink, at the price of
    one number per row and target.

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
        the average starts anew when it does worse than the iterates on the way.  Ignored by ``fit`` where one batch
        holds all rows: there is no noise to average.  With the automatic step ``fit`` reduces the variance besides; if
        False, it does neither.
    max_iter : int, default=1000
        Epochs at most.
    tol : float or None, default=1e-4
        Training stops when the gain in the training objective still to be expected is at most ``tol`` times the
        objective of the best constant prediction, that is, when less than ``tol`` of training :math:`R^2` is left to
        gain; for other losses than the squared error outliers are left out of that measure.  The expectation
        extrapolates the gains of the last epochs.  At least 500 updates are made.  None runs ``max_iter`` epochs.
    n_iter_no_change : int, default=2
        Consecutive epochs in which so little is to be gained before training stops.
    shuffle : bool, default=True
        Whether every epoch, and every ``partial_fit``, visits the rows in a new random order.
    warm_start : bool, default=False
        Whether ``fit`` starts from the coefficients, the update counter and the random generator of the call before.
        In plain mode ``k`` fits of one epoch then equal one fit of ``k`` epochs; otherwise averaging starts anew in
        each.
    random_state : int, RandomState or None, default=None
        Seed of the row orders.  None takes fresh entropy; NumPy's global generator is never used.
    verbose : int, default=0
        1 prints a line per epoch, or per ``partial_fit``.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients, of the dtype of X; 1-D if y was.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercept, in float64; 0 if ``fit_intercept=False``.
    n_iter_ : int
        Epochs of the last ``fit``; 1 after ``partial_fit``.
    t_ : int
        Updates made so far.
    learning_rate_ : float
        Step size of a full batch at the end.
    batch_size_ : int
        Rows of a full batch.
    loss_curve_ : list of float
        Training objective of the reported coefficients, penalty included, after each epoch of ``fit``, in squared
        units of y (of y for "quantile"); after each ``partial_fit``, the objective over its rows.
    validation_loss_curve_ : None
        No validation set is used.
    best_iter_ : None
        No validation set is used.
    stop_reason_ : str or None
        "converged" or "max_iter"; None after ``partial_fit``.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, only if X had string column names.

    See Also
    --------
    sklearn.linear_model.LinearRegression : The exact answer, for data in memory with few columns.
    sklearn.linear_model.SGDRegressor : One row per update; needs scaled features and a tuned step.
    sklearn.linear_model.QuantileRegressor : The exact quantile, by linear programming, for some thousand rows.

    Notes
    -----
    X is read in C order: another layout is copied once.  Memory beyond X is O(n_samples) small integers and
    O(n_features), and one number per row and target where variance is reduced. river's squared loss and PyTorch's
    ``MSELoss`` are twice the loss here.

    References
    ----------
    .. [1] S. Ma, R. Bassily and M. Belkin, "The Power of Interpolation: Understanding the Effectiveness of SGD in
    Modern
       Over-parametrized Learning", ICML 2018, theorem 4.
    .. [2] O. Shamir and T. Zhang, "Stochastic Gradient Descent for Non-smooth Optimization: Convergence Results and
       Optimal Averaging Schemes", ICML 2013, section 4.
    .. [3] L. Xiao and T. Zhang, "A Proximal Stochastic Gradient Method with Progressive Variance Reduction", SIAM
       Journal on Optimization 24, 2014.
    .. [4] B. Ying, K. Yuan and A. H. Sayed, "Variance-Reduced Stochastic Learning Under Random Reshuffling", IEEE
       Transactions on Signal Processing 68, 2020.
    .. [5] M. Fernandes, E. Guerre and E. Horta, "Smoothing Quantile Regressions", Journal of Business & Economic
       Statistics 39, 2021.

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
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        loss="squared_error",
        *,
        epsilon=1.35,
        quantile=0.5,
        penalty=None,
        alpha=1e-4,
        l1_ratio=0.15,
        fit_intercept=True,
        positive=False,
        batch_size="auto",
        learning_rate="auto",
        schedule="constant",
        power_t=0.25,
        precondition=True,
        average=True,
        max_iter=1000,
        tol=1e-4,
        n_iter_no_change=2,
        shuffle=True,
        warm_start=False,
        random_state=None,
        verbose=0,
    ):
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
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y, sample_weight=None, *, coef_init=None, intercept_init=None):
        """Fit the model, from the start unless ``warm_start``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training data, raw.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Target values.
        sample_weight : array-like of shape (n_samples,) or float, default=None
            Weight of each row in the objective; a row of weight 0 equals an absent row.
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
            If ``max_iter`` epochs were not enough for ``tol``.
        """
        return self._transact(self._fit, X, y, sample_weight, coef_init, intercept_init)

    def partial_fit(self, X, y, sample_weight=None):
        """Make one pass over a chunk of rows, in mini-batches, going on from all calls before.

        The statistics of the data, the step, the average, the counters and the row orders carry on; the first call
        needs no ``fit`` before it, and a chunk may be a single row.  Weights enter over the mean weight of all rows
        seen so far, this chunk included. Coefficients set by hand between two calls are taken as the new start.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of the chunk, raw.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Target values.
        sample_weight : array-like of shape (n_samples,) or float, default=None
            Weight of each row.  A chunk of zero weights only changes nothing.

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

    def predict(self, X):
        """Predict targets, ``X @ coef_.T + intercept_``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to predict for.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Predictions, 1-D if the y fitted was; float32 for float32 X.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
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

    def _transact(self, method, *args):
        """Call ``method``; if it raises, leave every attribute as it was."""
        check_learning_rate(self.learning_rate)
        parameters = {name: getattr(self, name) for name in self._parameter_constraints}
        validate_parameter_constraints(self._parameter_constraints, parameters, caller_name=type(self).__name__)
        attributes = vars(self).copy()
        generator = attributes.get("_state", {}).get("generator")
        position = None if generator is None else generator.bit_generator.state
        try:
            return method(*args)
        except BaseException:
            vars(self).clear()
            vars(self).update(attributes)
            if generator is not None:
                generator.bit_generator.state = position
            raise

    def _validate(self, X, y, sample_weight, reset):
        """Return the rows ``X, Y, sample_weight``, Y 2-D, and whether y is 1-D; that X is finite is seen later."""
        X, y = validate_data(
            self,
            X,
            y,
            reset=reset,
            dtype=[np.float64, np.float32],
            order="C",
            multi_output=True,
            y_numeric=True,
            ensure_all_finite=False,
        )
        sample_weight = check_weights(sample_weight, X)
        if sample_weight is not None and not sample_weight.any() and reset:
            raise ValueError("All sample weights are zero: at least one weight must be non-zero.")
        return X, as_targets(y, X.dtype), sample_weight, y.ndim == 1

    def _take_in(self, knowledge, X, Y, sample_weight):
        """Add the rows to the statistics and return them as ``Data``; raise if X is not finite."""
        data = knowledge.add(X, Y, sample_weight)
        known = knowledge.features is not None and data.index is None
        check_finite(X, knowledge.features.mean if known else None, type(self).__name__)
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

    def _fit(self, X, y, sample_weight, coef_init, intercept_init):
        warm = self.warm_start and hasattr(self, "coef_")
        X, Y, sample_weight, flat = self._validate(X, y, sample_weight, reset=True)
        d, k = X.shape[1], Y.shape[1]
        if warm:
            self._check_same_shape(flat, d, k)
        settings = self._settings(d)
        knowledge = Knowledge.empty(d, k, settings)
        data = self._take_in(knowledge, X, Y, sample_weight)
        if warm and coef_init is None and intercept_init is None:
            start = self._user_weights()
        else:
            start = check_start(coef_init, intercept_init, d, k)
            if intercept_init is None:
                start = start[0], knowledge.mean_intercept(start[0], settings)
        t, generator = (self.t_, self._state["generator"]) if warm else (0, make_generator(self.random_state))
        descent = make_descent(data, knowledge, settings, start_at(*start, self.average, t), stream=False)
        rng = generator if self.shuffle else None
        epochs, reason = descent.run(self.max_iter, self.tol, self.n_iter_no_change, rng, self._reporter())
        self._store(descent, knowledge, generator, flat)
        self.loss_curve_ = (self.loss_curve_ if warm else []) + descent.history
        self.n_iter_, self.stop_reason_ = epochs, reason
        if reason == "max_iter" and self.tol is not None:
            warnings.warn(
                f"max_iter={self.max_iter} epochs were not enough to come within tol={self.tol:g}. Raise max_iter or "
                "tol; if features are nearly collinear, remove some, or use sklearn.linear_model.Ridge.",
                ConvergenceWarning,
                stacklevel=4,
            )
        return self

    def _partial_fit(self, X, y, sample_weight):
        first = not hasattr(self, "coef_")
        X, Y, sample_weight, flat = self._validate(X, y, sample_weight, reset=first)
        d, k = X.shape[1], Y.shape[1]
        settings, touched, conditioning, smoothing = self._settings(d), False, None, None
        if first:
            knowledge, generator = Knowledge.empty(d, k, settings), make_generator(self.random_state)
        else:
            self._check_same_shape(flat, d, k)
            if sample_weight is not None and not sample_weight.any():
                return self
            dtype = self.coef_.dtype
            X, Y = X.astype(dtype, copy=False), Y.astype(dtype, copy=False)
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
        curve = [] if first else self.loss_curve_
        start = descent.objective()[0] if touched else 0.0
        report = self._reporter()
        objective = descent.take_in(generator if self.shuffle else None, start, len(curve) + 1)
        report(len(curve) + 1, objective, descent)
        self._store(descent, knowledge, generator, flat)
        self.loss_curve_ = [*curve, objective]
        self.n_iter_, self.stop_reason_ = 1, None
        return self

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

    def _reporter(self):
        """Return a function that prints an epoch's line, or does nothing."""
        if not self.verbose:
            return lambda *_: None
        began = time.perf_counter()
        print(f"{'epoch':>6} {'objective':>14} {'step':>12} {'seconds':>9}")

        def report(epoch, objective, descent):
            print(f"{epoch:>6} {objective:>14.6g} {descent.current_step:>12.4g} {time.perf_counter() - began:>9.3f}")

        return report

    def _store(self, descent, knowledge, generator, flat):
        """Set the fitted attributes."""
        coef, intercept = descent.conditioning.to_user(*descent.answer)
        self.coef_ = coef[0] if flat else coef
        self.intercept_ = float(intercept[0]) if flat else intercept
        self.t_ = descent.iterate.t
        self.learning_rate_ = descent.current_step
        self.batch_size_ = descent.batch_size
        self.validation_loss_curve_ = None
        self.best_iter_ = None
        self._state = pack(descent, knowledge, generator, (coef.copy(), intercept.copy()))
