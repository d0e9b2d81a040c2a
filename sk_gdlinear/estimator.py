"""GDLinearRegressor: ``fit`` and ``partial_fit`` on data in memory.  No mathematics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from ._compat import has_other_arrays, with_callbacks
from ._data.checks import check_start, make_generator
from ._data.statistics import StreamStatistics
from ._descent.backend import choose_backend
from ._fit.build import from_coef
from ._fit.certificate import certified
from ._fit.loop import fit_loop
from ._fit.monitors import end_all
from ._fit.nonempty_columns import columns_to_fit, restricted_to
from ._fit.place import NumPyPlace
from ._fit.quick import learn_quickly
from ._fit.report import attributes_after, warning_after
from ._fit.stream import FitMemory
from ._fit.validation import ValidationSet, split_off
from ._in_memory import InMemoryMixin
from ._partial_fit import PartialFitMixin
from .base import GDLinearModel
from .streaming import BatchFitting

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .base import Rows as RowsLike


class GDLinearRegressor(BatchFitting, PartialFitMixin, InMemoryMixin, GDLinearModel):
    r"""Linear regression by mini-batch gradient descent.

    Minimises the half mean squared error, or another loss, summed over targets, plus a penalty if there is one,

    .. math:: L(W, b) = \frac{1}{\sum_i s_i} \sum_i \frac{s_i}{2} \lVert W x_i + b - y_i \rVert^2
              + \sum_{tj} \alpha_j \left(\rho |w_{tj}| + \tfrac{1 - \rho}{2} w_{tj}^2\right),

    with one update per batch of ``m`` rows, followed by a proximal step for the penalty [3]_,

    .. math::

        G &= (\hat Y - Y) / m, &\qquad \nabla W &= G^\top X, &\qquad \nabla b &= \textstyle\sum_{\text{rows}} G, \\
        && W &\leftarrow W - \eta \nabla W, & b &\leftarrow b - \eta \nabla b.

    By default features need no scaling and the step size needs no tuning: the descent runs in centred and scaled
    variables, with the largest step that is safe for them, and the average of its iterates is reported in the units of
    the data.  With ``standardize=False, average=False`` and a number for ``learning_rate`` it is plain gradient
    descent, update for update that of ``torch.nn.Linear`` with half of ``MSELoss`` under ``torch.optim.SGD``.

    After its first epoch ``fit`` also reduces the variance of the gradient [4]_, with any loss and penalty: it keeps
    the derivative of each row's loss at its last visit in a table, and corrects every batch by the mean gradient of
    the table.  The descent then converges geometrically to the exact optimum, with exact zeros where the penalty has a
    kink, at the price of one number per row and target.

    Where features are nearly collinear (polynomials, splines, many categories) that is slow, so ``fit`` descends in the
    metric of the data: with :math:`H = \frac{1}{\sum s_i} \sum s_i \ell''(e_i) z_i z_i^\top`, the second moments of the
    rows, an epoch is one step from the gradient of all rows to the minimum of the quadratic model and the penalty [6]_.
    H is computed when the epochs before have cost as much as it does, which is after one epoch of small data and never
    where mini-batches converge sooner; see ``precondition``.

    Parameters
    ----------
    loss : {"squared_error", "huber", "quantile"} or object, default="squared_error"
        Loss of an error :math:`e`, prediction less target. "squared_error" is :math:`e^2 / 2`; "huber" is :math:`e^2 /
        2` up to ``epsilon`` and :math:`\epsilon (|e| - \epsilon / 2)` beyond, for targets with outliers; "quantile" is
        :math:`q |e|` where the prediction is too low and :math:`(1 - q) |e|` where it is too high, so that a share
        ``q`` of the targets is below their predictions.  The kink of the last is smoothed [5]_ over a small part of
        the errors' size, estimated during the descent; ``loss_curve_`` is that of the smoothed loss, which is lower by
        at most a quarter of the half-width of the smoothing.  An object is a user-defined loss, see
        ``sk_gdlinear.losses``.
    epsilon : float, default=1.35
        Error beyond which "huber" is linear, above 0, in units of y: 1.35 times the standard deviation of the noise
        loses 5 % of efficiency if the noise is normal.  ``HuberRegressor`` estimates that standard deviation and
        multiplies its ``epsilon`` by it; here nothing is estimated, as in ``SGDRegressor``.
    quantile : float, default=0.5
        The quantile to predict with "quantile", between 0 and 1.
    penalty : {"l2", "l1", "elasticnet"}, object or None, default=None
        "l2" has the optimum of ``Ridge(alpha * n_samples)``, "l1" that of ``Lasso(alpha)``, "elasticnet" that of
        ``ElasticNet(alpha, l1_ratio)``: the penalty acts on ``coef_`` in the units of the data, whatever
        ``standardize``, and never on the intercept.  An object is a penalty with its own strength, such as bounds or a
        user-defined penalty, see ``sk_gdlinear.penalties``.
    alpha : float or array-like of shape (n_features,) or (n_targets, n_features), default=1e-4
        Weight of the penalty relative to the mean loss, at least 0; an array gives each feature its own.  0 is no
        penalty.  Its units are those of the loss per unit of ``coef_`` ("l1") or of its square ("l2").
    l1_ratio : float, default=0.15
        Share :math:`\rho` of "l1" in "elasticnet", from 0 to 1.
    fit_intercept : bool, default=True
        Whether to learn an intercept.  If False, features are scaled but not centred.
    positive : bool, default=False
        Whether coefficients must not be negative; the intercept may be.
    batch_size : int, None or "auto", default="auto"
        Rows per update.  None is one update per epoch from all rows; "auto" is 32, and from 1024 to 16384 for arrays on
        a GPU.  An epoch makes ``ceil(n_samples / batch_size)`` updates; a last, short batch is averaged over its own
        rows.
    learning_rate : float or "auto", default="auto"
        Step size :math:`\eta`, in coefficients per unit of gradient.  "auto" takes :math:`m / (c \beta + 1.05 (m - 1)
        \lambda_1)` for batches of ``m`` rows [1]_, with :math:`\beta` the largest squared norm of a (standardized) row,
        :math:`\lambda_1` the largest eigenvalue of their second-moment matrix, estimated on a sample, and ``c`` 1 in
        the first epoch and 1.5 while variance is reduced; every epoch that raises the objective while variance is
        reduced halves the step.  Where one batch contains all rows the step is :math:`1 / (1.05 \lambda_1)`.  A batch
        whose objective is more than 16 times that of predicting the mean gets at most the step of a line search on this
        batch.
    schedule : {"constant", "invscaling", "adaptive"} or callable, default="constant"
        How the step changes: not at all; :math:`\eta / t^p` at update ``t = 1, 2, ...`` with ``p = power_t``; divided
        by 5 whenever training would otherwise stop, until it is below a millionth of its start (in ``partial_fit``:
        not at all).  A callable maps an array of update numbers to factors of the step, at least 0.  If it has a
        parameter ``n_updates``, ``fit`` passes the number of the last update that it can make, and None is passed in
        ``partial_fit``.
    power_t : float, default=0.25
        Exponent of "invscaling", at least 0.
    standardize : bool, default=True
        Whether to descend in :math:`z = (x - \mu) / s`, per feature, with :math:`s = \max(\sigma, \max|x - \mu| /
        \sqrt m)`, and in centred and scaled targets.  It changes the path, not the objective.  A constant feature
        gets coefficient 0, or the bound nearest to 0.
    precondition : bool or "auto", default="auto"
        Whether an epoch may be a step with the second moments of all rows: True from the first epoch on, False never,
        "auto" from when the mini-batch epochs so far have cost as much as the second moments would, or before, if a
        sample of the rows says that much is left to gain, or cannot tell that little is.  It acts with
        ``standardize=True``, ``learning_rate="auto"`` and ``schedule="constant"``, on up to 4,096 features.  For
        squared errors it also acts on more: with "l1" or "elasticnet" it uses a working set of the features, with "l2"
        or no penalty the products of rows where they are fewer and at most 4,096, and otherwise conjugate gradients,
        or with another penalty accelerated gradients, one pass an epoch.  Columns of condition numbers up to 1e6, once
        they are standardized, are solved; beyond that they count as linearly dependent (with "l2" only where rounding
        hides the difference), and the answer is that of minimum norm in columns scaled to unit variance, but with
        conjugate or accelerated gradients one near to where they began.
    average : bool, default=True
        Whether to report the running average of the iterates [2]_ in place of the last one.  With the automatic step
        the average starts anew when it does worse than the iterates that it averages.  Where one batch contains all
        rows of ``fit`` there is no noise to average, and the newest is reported.  If True, and with the automatic
        step, ``fit`` also reduces the variance of the gradient, but not with ``batch_size=None``.
    max_iter : int, default=1000
        Epochs of ``fit`` at most; ``fit_batches`` has ``epochs`` instead.
    tol : float or None, default=1e-4
        Training stops when the gain in the training objective still to be expected is at most ``tol`` times the
        objective of the best constant prediction, that is, when less than ``tol`` of training :math:`R^2` is left to
        gain; for other losses than the squared error outliers are left out of that measure, and for "quantile" it is
        the loss itself.  Once the second moments of all rows are known, what is left to gain is computed from the exact
        gradient: half the squared Newton decrement, with a penalty the fall of the quadratic model and the penalty, or
        the duality gap.  Before, it is extrapolated from the gains of the last epochs, at least 500 updates are made
        unless nothing moves any more, and training only ends if the second moments of a sample agree (with
        ``precondition=False`` of all rows, if they are few).  With a step or schedule of your own, or
        ``standardize=False``, the extrapolation decides when to stop, and second moments, computed once at the end,
        whether ``stop_reason_`` is "converged" or "no_change"; the latter also with more features than
        ``precondition`` allows.  For "huber" and "quantile", and for conjugate or accelerated gradients with a penalty
        that limits every coefficient, a duality gap over all rows decides; without one they end as "no_change".  None
        runs ``max_iter`` epochs.  With a validation set this holds for the validation loss: the gain is that over the
        best epoch so far, and the scale is the validation loss of the mean of the training targets.
    n_iter_no_change : int, default=2
        Consecutive epochs with so little left to gain after which training stops, where that is extrapolated.  With the
        automatic step, and variance reduction or full batches, one epoch is enough when less than a quarter of ``tol``
        is left.
    shuffle : bool, default=True
        Whether every epoch, and every ``partial_fit`` that makes mini-batches, visits the rows in a new random order.
    early_stopping : bool, default=False
        Whether ``fit`` holds out ``validation_fraction`` of the rows at random, stops by the loss on them, and reports
        the coefficients of the epoch with the lowest one.  A validation set given to ``fit`` is used in the same way,
        whatever ``early_stopping`` is, and no rows are then held out.  ``fit_batches`` holds out no rows, so it needs a
        validation set, and ``partial_fit`` cannot stop early.
    validation_fraction : float, default=0.1
        Fraction of the rows held out, between 0 and 1, rounded up to whole rows.
    warm_start : bool, default=False
        Whether ``fit`` starts from the coefficients, the update counter and the random generator of the call before.
        In plain mode ``k`` fits of one epoch then equal one fit of ``k`` epochs; otherwise every fit starts a new
        average.  ``early_stopping`` holds out the same rows of the same data again.
    window : int or None, default=None
        Rows that ``partial_fit`` remembers: at least the newest ``window`` and at most twice as many, and nothing of
        older ones.  None remembers every row alike, so that chunks in any order give the answer of ``fit`` on the rows
        together.  Pass a window if relations or units change, or because of outliers: the model itself cannot tell a
        drift from an unlucky order of the rows.  Where ``partial_fit`` makes mini-batches it is the statistics of the
        columns that are forgotten after so many rows.
    n_jobs : int or None, default=None
        Threads over blocks of rows in ``fit``, ``partial_fit`` and ``predict`` of large data (a million numbers and
        more).  None is one thread unless ``joblib.parallel_config`` says otherwise, -1 all cores.  Mini-batch epochs
        then average what each thread has learnt from its own blocks; sums over rows are added in a fixed order.  The
        same ``n_jobs`` gives the same bits.
    random_state : int, RandomState or None, default=None
        Seed of the row orders.  None takes fresh entropy; NumPy's global generator is never used.
    verbose : int, default=0
        1 prints a line per epoch of ``fit`` or ``fit_batches``, or per ``partial_fit``: number, training objective and
        validation loss in squared units of y, training R² of squared errors, the gain that is left over the scale of
        ``tol``, step size, seconds since the start of the call; after the epochs also why they ended, and when variance
        was reduced and the second moments were computed.  0 prints nothing.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients, of the dtype of X; 1-D if y was.
    intercept_ : numpy.float64 or ndarray of shape (n_targets,)
        Intercept, in float64; 0 if ``fit_intercept=False``.
    n_iter_ : int
        Epochs of the last ``fit`` or ``fit_batches``; 1 after ``partial_fit``.  A step with the second moments of all
        rows is one epoch.
    t_ : int
        Updates made up to the coefficients reported: one per batch, and one per step with the second moments.
    learning_rate_ : float
        Step size of a full batch in the epoch whose coefficients are reported; 1 after a ``partial_fit`` that moves to
        the minimum over all remembered rows.
    batch_size_ : int
        Rows of a full batch.
    loss_curve_ : list of float
        Training objective over all rows, penalty included, of the coefficients that would be reported after each epoch
        of ``fit``, in squared units of y (in units of y for "quantile"); after each ``partial_fit``, the objective over
        its rows, of which the newest 10,000 values are kept.  For the epochs of ``fit_batches`` see there.
    validation_loss_curve_ : list of float or None
        Loss of the validation set, without the penalty, entry for entry; NaN for a ``partial_fit`` or an epoch without
        one.  None where there has been no validation set.
    best_iter_ : int or None
        Epoch, as a position in the curves counted from 1, with the lowest validation loss, whose coefficients are
        reported.  None where the last call had no validation set.
    stop_reason_ : str or None
        "converged": at most ``tol`` is left to gain.  For "quantile" this may leave out what it costs to smooth the
        kink over 1e-5 of the spread of y; with losses and penalties of your own it is what a model says.  "no_change":
        the objective hardly falls any more, but it is not certain that so little is left; "early_stopping", by the
        validation loss; "max_iter", after ``fit_batches`` "epochs"; "callback"; "interrupted".  None after
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
    scikit-learn's callbacks, set with ``set_callbacks`` (scikit-learn 1.9 and later), are called after every epoch, and
    one that returns True stops training after it.  Remove them, ``set_callbacks()``, before saving with skops.

    An int ``random_state`` gives the same bits again on one machine with the same installed versions, in any thread or
    process: models share nothing, and the compiled kernels run without Python's global lock.  A fitted model may be
    used by many threads at once as long as none fits it.  Another processor, version of NumPy or SciPy or number of
    BLAS threads, and the reference implementation (see ``sk_gdlinear.backend``), which also runs user-defined losses
    and penalties, may round differently.

    X is read in C order, or as CSR with sorted and unique indices: other layouts are copied once.  Memory beyond X is
    O(n_samples) small integers and O(n_features), one number per row and target where variance is reduced, and up to
    five times the square of n_features where second moments are computed.  Where most columns of
    sparse X have no entry, these take no more than their coefficients.  river's squared loss and PyTorch's ``MSELoss``
    are twice the loss here.

    References
    ----------
    .. [1] S. Ma, R. Bassily and M. Belkin, "The Power of Interpolation: Understanding the Effectiveness of SGD in
       Modern Over-parametrized Learning", ICML 2018, theorem 4.
    .. [2] O. Shamir and T. Zhang, "Stochastic Gradient Descent for Non-smooth Optimization: Convergence Results and
       Optimal Averaging Schemes", ICML 2013, section 4.
    .. [3] L. Xiao and T. Zhang, "A Proximal Stochastic Gradient Method with Progressive Variance Reduction", SIAM
       Journal on Optimization 24, 2014.
    .. [4] A. Defazio, F. Bach and S. Lacoste-Julien, "SAGA: A Fast Incremental Gradient Method With Support for
       Non-Strongly Convex Composite Objectives", NeurIPS 2014: the table. S. De and T. Goldstein, "Efficient
       Distributed SGD with Variance Reduction", ICDM 2016: its mean gradient is updated once an epoch.
    .. [5] M. Fernandes, E. Guerre and E. Horta, "Smoothing Quantile Regressions", Journal of Business & Economic
       Statistics 39, 2021.
    .. [6] J. Lee, Y. Sun and M. Saunders, "Proximal Newton-type Methods for Minimizing Composite Functions", SIAM
       Journal on Optimization 24, 2014.

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

    def fit(
        self,
        X: RowsLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: RowsLike | None = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
        coef_init: ArrayLike | None = None,
        intercept_init: ArrayLike | None = None,
    ) -> Self:
        """Fit the model, from the start unless ``warm_start``.

        After Ctrl-C the model is that of the last complete epoch, or of the best one with a validation set,
        ``stop_reason_`` is "interrupted", and ``KeyboardInterrupt`` is raised. Before an epoch is complete the model is
        left as it was, as by all errors.

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
        KeyboardInterrupt
            After Ctrl-C.

        Warns
        -----
        ConvergenceWarning
            If ``max_iter`` epochs were not enough for ``tol``, if training stopped although more is known to be left
            to gain, or if the model predicts the mean of y, since what was learnt had a higher objective.
        """
        validation = (X_val, y_val, sample_weight_val)
        self._transact(self._fit, X, y, sample_weight, validation, coef_init, intercept_init)
        return self._raise_if_interrupted()

    def partial_fit(self, X: RowsLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Learn from a chunk of rows, continuing from the previous calls.

        For squared errors with a built-in penalty or none, the automatic step and up to 512 features and targets, the
        second moments of all rows are remembered: they determine the objective of these rows and its gradient, and the
        parameters move to its minimum, in one update per call.  So chunks of any size in any order give what ``fit``
        gives on the rows together (see ``window``).  Otherwise, or with ``precondition=False``, a call makes one pass
        over the chunk in mini-batches; the statistics of the data, the step, the average, the counters and the row
        orders continue, and weights are divided by the mean weight of all rows seen so far, this chunk included.

        Without a penalty, the time of a call with sparse rows of more columns than that depends on their entries, not
        on the number of columns, and the model has five numbers a column, three with ``average=False``.  ``coef_`` is
        then changed in place, as ``SGDRegressor`` does: copy it to keep it.  Only columns in which large values are
        frequent are centred, and each coefficient is averaged over the updates by rows with an entry in its column.

        The first call needs no ``fit`` before it, and a chunk may be a single row.  Coefficients set by hand between
        two calls are the new start: remembered rows then count as if they had been fitted by these coefficients.

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

        Warns
        -----
        UserWarning
            Once, if ``window`` is None and the newest half of the rows contradicts those before by far: if the squared
            error of the model on them is 25 times that of their own least squares and a quarter of the variance of all
            targets, or a million times that of their own.  They are compared whenever the number of rows has doubled.
        """
        if learn_quickly(self, X, y, sample_weight):
            return self
        return self._transact(self._partial_fit, X, y, sample_weight)

    # The HTML representation links to this, and has no tooltips without it. It names no path of this machine.
    _doc_link_module = "sk_gdlinear"
    _doc_link_template = "https://github.com/OWNER/sk_gdlinear/blob/main/sk_gdlinear/estimator.py"

    @with_callbacks
    def _fit(self, X, y, sample_weight, validation, coef_init, intercept_init):
        """Fit; return a warning, or None."""
        if has_other_arrays(X, y, sample_weight, *validation, coef_init, intercept_init, vars(self).get("coef_")):
            from ._array.fit import fit

            return fit(self, X, y, sample_weight, validation, coef_init, intercept_init)
        return self._fit_rows(X, y, sample_weight, validation, coef_init, intercept_init, NumPyPlace())

    def _fit_rows(self, X, y, sample_weight, validation, coef_init, intercept_init, place):
        """Fit to rows wherever they are; return a warning, or None."""
        given, warm = (X, y, sample_weight), self.warm_start and hasattr(self, "coef_")
        X, Y, sample_weight, flat = self._validate(X, y, sample_weight, reset=not warm)
        (n, d), k = X.shape, Y.shape[1]
        if warm:
            self._check_same_shape(flat, d, k)
        t, generator = self._carried() if warm else (0, make_generator(self.random_state))
        held_out, training_weight = self._hold_out(X, Y, sample_weight, flat, validation, warm, generator)
        n_kept = n if training_weight is None else np.count_nonzero(training_weight)
        hyper = place.hyperparameters(self, d, k, t, n_kept)
        coef, intercept = check_start(coef_init, intercept_init, d, k)
        if warm:
            fitted = self._fitted_parameters()
            coef = fitted[0] if coef_init is None else coef
            intercept = fitted[1] if intercept_init is None else intercept
        if (columns := columns_to_fit(X, hyper, coef)) is not None:
            X, held_out, hyper, coef = restricted_to(columns, X, held_out, hyper, coef)
        statistics = StreamStatistics.empty(X.shape[1], k, hyper.standardize)
        rows = self._add_rows(statistics, X, Y, training_weight)
        self._check_own(hyper, statistics)
        if not warm and intercept_init is None:
            intercept = statistics.mean_intercept(coef, hyper.fit_intercept)
        start, is_warm = from_coef(coef, intercept, self.average, t), warm or coef_init is not None
        method = place.make_method(rows, statistics, hyper, start, self.max_iter, is_warm)
        if held_out is not None:
            held_out = ValidationSet(choose_backend(held_out.X), held_out, method.objective)
        past = self._past() if warm else ([], None)

        def attributes(result):
            return place.attributes(attributes_after(result, self.penalty, flat, past, columns=columns))

        monitors = self._monitors(attributes, given, "fit", len(past[0]), method.n_blocks)
        rng = generator if self.shuffle else None
        result = fit_loop(method, self.max_iter, self.tol, self.n_iter_no_change, rng, held_out, monitors)
        result = certified(result, rows, statistics, hyper, method, place.make_judge)
        fitted = attributes_after(result, self.penalty, flat, past, columns=columns)
        memory = FitMemory.of(method, hyper, np.atleast_2d(fitted["coef_"])) if columns is None else None
        self._store(fitted, method, statistics, generator, memory, columns=columns)
        vars(self).update(place.attributes(fitted))
        end_all(monitors, result.stop_reason, method.notes)
        return warning_after(result, self.max_iter, self.tol)

    def _hold_out(self, X, Y, sample_weight, flat, validation, warm, generator):
        """Return the validation rows, or None, and the weights to train with."""
        if any(given is not None for given in validation):
            return self._validation_rows(X, Y, flat, *validation), sample_weight
        if not self.early_stopping:
            return None, sample_weight
        if not (warm and hasattr(self, "_split_seed")):  # the same rows are held out again
            self._split_seed = int(generator.integers(2**32))
        return split_off(X, Y, sample_weight, self.validation_fraction, self._split_seed)
