r"""The memory of a stream, and the minimum of the objective of the rows that it remembers.

For squared errors the joint second moments of features and targets determine the objective of all remembered rows and
its gradient :math:`\nabla L(w) = H w - c`, at any coefficients and without keeping a row.  So a call of ``partial_fit``
makes one step to the minimum of their objective, with or without a penalty.  That is the answer of ``fit`` on the rows
together, in whatever order and chunks they come.  Mini-batches over the chunk would only change the start, on which
that minimum does not depend, so none are made.  Recursive least squares is the special case without a penalty.
"""

from dataclasses import dataclass, replace
from math import isfinite

import numpy as np
from scipy.linalg.lapack import dposv, dpotrs

from .._data.joint_moments import JointMoments
from .._data.rows import Rows
from .._data.standardize import Standardization
from .._data.statistics import StreamStatistics
from .._descent.backend import choose_backend
from .._descent.quadratic import QuadraticModel
from .._objective.losses import SquaredError
from .._objective.objective import problem_of_loss, rescale_penalty
from .._objective.penalties import Box, BoxedElasticNet, is_compiled, strengths_and_bounds, within_bounds

# The number of newest values of a stream's curves that are kept.
LONGEST_CURVE = 10_000

# Columns, targets included, up to which a stream keeps second moments.
MOST_COLUMNS = 512

# Pivot of Cholesky's method, relative to the size of its column, from which the solution keeps enough digits.
LEAST_PIVOT = 1e-3

# Damping of a matrix that is nearly singular, relative to its diagonal; the steps made with it at most, and the part of
# the targets' squares that the last of them may gain.
DAMPING = 1e-9
DAMPED_STEPS = 6
DAMPED_GAIN = 1e-13

# The newest half of a stream contradicts the rows before it if the squared error on it of the model of all rows is more
# than ``CONTRADICTION`` times that of the model of the newest half alone, and more than ``CONTRADICTION_SHARE`` of the
# variance of the targets; or, whatever that share, if it is more than ``GROSS_CONTRADICTION`` times that error.  Newest
# targets that are all equal contradict nothing, unless they only seem so beside ``FEW_OUTLIERS``.
CONTRADICTION = 25.0
CONTRADICTION_SHARE = 0.25
GROSS_CONTRADICTION = 1e6
FEW_OUTLIERS = 2.0

# Rows before the first comparison, at least, and per column; and rounding of the squared errors compared.
COMPARED_ROWS = 128
COMPARED_ROWS_PER_COLUMN = 4
ROUNDING = 1e-13


def remembers(hyper, d, k):
    """Whether a stream with these parameters keeps second moments."""
    return (
        type(hyper.loss) is SquaredError
        and is_compiled(hyper.penalty)
        and hyper.allows_curvature
        and d + k <= MOST_COLUMNS
    )


@dataclass
class Memory:
    """The rows that a stream remembers.  Nothing is ever changed in place.

    Without a ``window`` the newest generation contains all rows, and ``past`` those at the last comparison.  With one
    it contains the rows since the generation before, ``past``, was complete with ``window`` rows.
    """

    newest: JointMoments
    past: JointMoments
    window: int | None
    warned: bool = False  # whether the user was told of a contradiction

    @classmethod
    def empty(cls, n_columns, window):
        """Return the memory of no rows."""
        return cls(JointMoments.empty(n_columns), JointMoments.empty(n_columns), window)

    @property
    def moments(self):
        """The moments of all remembered rows."""
        return self.newest if self.window is None else self.past.merged(self.newest)

    def with_window(self, window):
        """Return the memory with another ``window``."""
        if window == self.window:
            return self
        return replace(self.replaced_by(self.moments), window=window)

    def replaced_by(self, moments):
        """Return the memory of other rows, as one generation."""
        return Memory(moments, JointMoments.empty(len(moments.mean)), self.window, self.warned)

    def with_rows(self, X, Y, weight):
        """Return the memory with more rows, of weights above 0."""
        window, n, of = self.window, X.shape[0], choose_backend(X).joint_moments
        if n == 1 and isinstance(X, np.ndarray):
            memory = self.with_row(X, Y, 1.0 if weight is None else float(weight[0]))
            if memory is not None:
                return memory
        if window is None:
            return replace(self, newest=self.newest.merged(of(X, Y, weight)))
        newest, past, nothing = self.newest, self.past, JointMoments.empty(len(self.newest.mean))
        if newest.n_rows >= window:  # they were remembered with another window
            newest, past = nothing, newest
        begin = n - (newest.n_rows + n) % window  # of the generation that is newest after these rows
        if begin > 0:
            # Rows before the last complete generation are left out.
            complete = of(X, Y, weight, slice(max(begin - window, 0), begin))
            newest, past = nothing, complete if begin >= window else newest.merged(complete)
        begin = max(begin, 0)
        if begin < n:
            newest = newest.merged(of(X, Y, weight, slice(begin, n)))
        return replace(self, newest=newest, past=past)

    def with_row(self, X, Y, weight):
        """Return the memory with the one row of ``X`` and ``Y``.

        It is None if the row begins or ends a generation, or needs new factors.
        """
        if self.window is not None and self.newest.n_rows + 1 >= self.window:
            return None
        newest = self.newest.with_row(np.concatenate((X[0], Y[0]), dtype=np.float64), weight)
        return None if newest is None else Memory(newest, self.past, self.window, self.warned)

    @property
    def is_compared(self):
        """Whether there are so many rows that the newest half is compared with those before."""
        if self.window is not None or self.warned or self.newest.n_rows < 2 * self.past.n_rows:
            return False
        return self.newest.n_rows >= COMPARED_ROWS + COMPARED_ROWS_PER_COLUMN * len(self.newest.mean)

    def compared(self, d, fit_intercept):
        """Compare the newest half of the rows with those before when there are twice as many as at the last time.

        Returns
        -------
        memory : Memory
            With the rows up to here as those of the last comparison.
        contradicts : bool
            Whether the newest rows contradict those before by far.
        """
        rows = self.newest
        if not self.is_compared:
            return self, False
        if self.past.n_rows == 0 or not _contradicts(rows, self.past, d, fit_intercept):
            return replace(self, past=rows), False
        return replace(self, past=JointMoments.empty(len(rows.mean)), warned=True), True

    def statistics(self, k, standardize):
        """Return the statistics of the columns of the remembered rows, ``k`` of which are targets."""
        moments = self.moments
        d = len(moments.mean) - k
        statistics = StreamStatistics.empty(d, k, standardize)
        features = moments.columns(slice(d)) if standardize else None
        n = moments.n_rows
        return replace(
            statistics, features=features, targets=moments.columns(slice(d, None)), n_young=n, n_rows=n,
            weight_sum=moments.count,
        )  # fmt: skip

    def packed(self):
        """Return the memory as a dictionary of plain values and arrays."""
        generations = {name: dict(vars(getattr(self, name))) for name in ("newest", "past")}
        return vars(self) | generations

    @classmethod
    def unpacked(cls, packed):
        """Return the memory that ``packed`` returned."""
        generations = {name: JointMoments(**packed[name]) for name in ("newest", "past")}
        return cls(**(packed | generations))


CONTRADICTED = (
    "The newest rows contradict those that partial_fit remembers: the model of all rows is far from the one that fits "
    "the newest half of them. By default all rows are remembered alike. If the relation or the units have changed, or "
    "there were outliers, let the model forget: pass window=m to remember at least the newest m rows and at most 2m."
)


@dataclass(frozen=True)
class FitMemory:
    """What a stream after ``fit`` needs of its rows, in addition to the statistics of the columns."""

    products: np.ndarray | None  # (d, d), second moments of the standardized features, if the fit has bought them
    slope: np.ndarray | None  # (k, d), gradient of the penalty at the parameters fitted; None for 0

    @classmethod
    def of(cls, method, hyper, coef):
        """Return the memory of the fit of ``coef``, (k, d), or None if a stream keeps no second moments."""
        k, d = coef.shape
        if not remembers(hyper, d, k):
            return None
        bought = None if method.curvature is None else method.curvature.newton.moments
        known = bought is not None and len(bought.mean) == d  # computing them now would cost more than many a fit
        return cls(bought.products if known else None, penalty_slope(hyper.penalty, coef))

    def moments(self, statistics, standardization, fit_intercept, coef, intercept):
        """Return the joint moments of the rows, such that their objective has its minimum at the parameters fitted.

        The second moments of the features are those that the fit has computed, or those of uncorrelated features.
        """
        moments, d = uncorrelated(statistics), coef.shape[1]
        if self.products is not None:
            inv_scale = standardization.inv_scale.astype(np.float64)
            factor = np.divide(moments.factor[:d], inv_scale, out=np.zeros(d), where=inv_scale > 0.0)
            H = self.products * np.multiply.outer(factor, factor)
            # The variances of the columns are known exactly.
            exact, sampled = moments.products.diagonal()[:d], H.diagonal()
            enlarge = np.sqrt(np.divide(exact, sampled, out=np.zeros(d), where=sampled > 0.0))
            products = moments.products.copy()
            products[:d, :d] = H * np.multiply.outer(enlarge, enlarge)
            np.fill_diagonal(products, moments.products.diagonal())
            moments = replace(moments, products=products)
        return with_minimum_at(moments, self.slope, fit_intercept, coef, intercept)


def uncorrelated(statistics):
    """Return the joint moments of rows of which only the statistics of the columns are known."""
    return JointMoments.uncorrelated(statistics.n_rows, statistics.recent_features, statistics.recent_targets)


def penalty_slope(penalty, coef):
    """Return the gradient of a built-in penalty at coefficients (k, d), without that of bounds; None for 0."""
    if penalty is None:
        return None
    l1, l2, *_ = strengths_and_bounds(penalty)
    coef = coef.astype(np.float64, copy=False)
    with np.errstate(over="ignore"):
        return l1 * np.sign(coef) + l2 * coef if l1.any() or l2.any() else None


def minimum(moments, penalty, fit_intercept, coef):
    """Return the coefficients and the intercept that minimise the objective of the rows remembered.

    Parameters
    ----------
    moments : JointMoments
    penalty : Penalty or None
        A built-in one.
    fit_intercept : bool
    coef : ndarray of shape (k, d)
        Coefficients to start from, in the units of the data; those returned have their dtype.

    Returns
    -------
    coef : ndarray of shape (k, d)
    intercept : ndarray of shape (k,)
    """
    (k, d), dtype = coef.shape, coef.dtype
    after = _smooth_minimum(moments, penalty, fit_intercept, d)
    if after is None:
        after = _general_minimum(moments, penalty, fit_intercept, coef)
    coef = after if dtype == np.float64 else after.astype(dtype)
    if type(penalty) is Box:
        coef, _ = within_bounds(penalty, coef, np.zeros(k), np.zeros(d))
    intercept = mean_intercept(moments, coef) if fit_intercept else np.zeros(k)
    return coef, intercept


def _smooth_minimum(moments, penalty, fit_intercept, d):
    """Return the coefficients of the minimum by Cholesky's method; None with kinks or a matrix that is nearly singular.

    It takes a third of the time of ``_general_minimum``, on many columns a tenth.
    """
    A, c = moments.sums(d, fit_intercept)
    if penalty is not None:
        l1, l2, lower, _ = strengths_and_bounds(penalty)
        if lower is not None or l1.any() or l2.ndim > 1:
            return None
        A = A.copy()
        with np.errstate(over="ignore", invalid="ignore"):  # of a column of zeros the square of the factor is infinite
            A.flat[:: d + 1] += np.where(l2 > 0.0, l2 * (moments.count * moments.factor[:d] ** 2), 0.0)
    factor, W, failed = dposv(A, c, lower=True)
    # A pivot relative to the size of its column is the part of the column that the others do not determine.
    if failed or (factor.diagonal() < LEAST_PIVOT * np.sqrt(A.diagonal())).any():
        W = _damped_minimum(A, c, moments.products.diagonal()[d:])
        if W is None:
            return None
    return np.ascontiguousarray(W.T) * (moments.factor[:d] / moments.factor[d:, None])


def _damped_minimum(A, c, squares):
    r"""Return the solution of ``A W = c`` from damped steps; None if they do not converge at once.

    The steps :math:`(A + \rho D)^{-1} (c - A W)` from 0 converge after a few where the columns of a one-hot code add up
    to 1, or some are constant, since they have no part along flat directions.

    Parameters
    ----------
    A : ndarray of shape (d, d)
    c : ndarray of shape (d, k)
    squares : ndarray of shape (k,)
        Sums of squares of the targets, to which what is left to gain is compared.
    """
    diagonal = A.diagonal()
    damped = A.copy()
    damped.flat[:: len(A) + 1] = np.where(diagonal > 0.0, diagonal * (1.0 + DAMPING), 1.0)
    factor, W, failed = dposv(damped, c, lower=True)
    for _ in range(DAMPED_STEPS if not failed else 0):
        residual = c - A @ W
        step, _ = dpotrs(factor, residual, lower=True)
        W += step
        if ((residual * step).sum(axis=0) <= DAMPED_GAIN * squares).all():
            return W
    return None


def _general_minimum(moments, penalty, fit_intercept, coef):
    """Return the coefficients of the minimum with any penalty, and of minimum norm where it is not unique."""
    k, d = coef.shape
    H, c = moments.about(d, fit_intercept)
    to_scaled = moments.factor[d:, None] / moments.factor[:d]
    W = coef * to_scaled
    diagonal = H.diagonal()
    scaled = BoxedElasticNet() if penalty is None else _scaled_penalty(penalty, moments, d, diagonal > 0.0)
    if diagonal.all():
        W = QuadraticModel(H).minimise(W, W @ H - c, scaled).W
    else:  # constant columns
        at = np.flatnonzero(diagonal)
        H, W_at, after = H[np.ix_(at, at)], W[:, at], np.zeros((k, d))
        scaled = BoxedElasticNet(*(None if a is None else a[:, at] for a in scaled[:4]))
        if len(at):
            after[:, at] = QuadraticModel(H).minimise(W_at, W_at @ H - c[:, at], scaled).W
        W = after
    return W / to_scaled


def mean_intercept(moments, coef):
    """Return the intercept with which ``coef`` predicts the mean of the remembered targets."""
    d, mean = coef.shape[1], moments.mean / moments.factor
    return mean[d:] - coef.astype(np.float64) @ mean[:d]


def with_minimum_at(moments, slope, fit_intercept, coef, intercept):
    """Return moments with the same features whose objective has its minimum at given parameters.

    They take the place of the moments of rows of which the parameters and the features' second moments are known, but
    not the products of features and targets.  ``slope`` is the gradient of the penalty there, None for 0.
    """
    d = coef.shape[1]
    to_scaled = moments.factor[d:, None] / moments.factor[:d]
    W, (H, _) = coef.astype(np.float64) * to_scaled, moments.about(d, fit_intercept)
    c, mean, products = W @ H, moments.mean.copy(), moments.products.copy()
    if slope is not None:
        c += np.where(H.diagonal() > 0.0, slope * moments.factor[d:, None] * moments.factor[:d], 0.0)
    if fit_intercept:
        mean[d:] = W @ mean[:d] + intercept * moments.factor[d:]
    else:
        c -= np.multiply.outer(mean[d:], mean[:d])
    c *= moments.count
    products[d:, :d], products[:d, d:] = c, c.T
    targets = mean[d:] / moments.factor[d:]
    low, high = moments.low.copy(), moments.high.copy()
    low[d:], high[d:] = np.minimum(low[d:], targets), np.maximum(high[d:], targets)
    return replace(moments, mean=mean, products=products, low=low, high=high)


def step_to_minimum(moments, X, Y, weight, hyper, coef):
    """Return the ``minimum`` of the remembered rows' objective, and its objective over the rows of the chunk.

    Raises
    ------
    ValueError
        If the coefficients are not finite.
    """
    coef, intercept = minimum(moments, hyper.penalty, hyper.fit_intercept, coef)
    objective = _objective(X, Y, weight, hyper.penalty, coef, intercept)
    # Finite errors come from finite coefficients.
    if not isfinite(objective) and not (isfinite(intercept.sum()) and isfinite(coef.sum())):
        raise ValueError(
            f"The coefficients have no number in {coef.dtype}: the units of y are too large beside those of X. Pass "
            "float64, or choose other units."
        )
    return coef, intercept, objective


def _objective(X, Y, weight, penalty, coef, intercept):
    """Return the objective of parameters over rows, in units of y squared."""
    coef, value = coef.astype(np.float64, copy=False), 0.0 if penalty is None else sum(penalty.value(w) for w in coef)
    if not isinstance(Y, np.ndarray):  # on a device, which returns the sum alone
        rows, (k, d) = Rows(X, Y, weight), coef.shape
        problem = problem_of_loss(rows, SquaredError(), Standardization.identity(d, k, np.float64))
        loss = X.backend.gradient(problem, rows.order, coef, intercept)[2].sum()
        return float(loss / (len(Y) if weight is None else weight.sum()) + value)
    E = X @ coef.T + (intercept - Y)
    square = np.vdot(E, E) / len(E) if weight is None else weight @ (E * E).sum(axis=1) / weight.sum()
    return float(0.5 * square + value)


def objectives_of(moments, penalty, fit_intercept, coef, intercept):
    """Return the loss of parameters over the remembered rows, their penalty, and the loss of the best constant.

    Each is per target, (k,), in scaled variables: over the square of the target's factor.
    """
    d, factor = coef.shape[1], moments.factor
    coef = coef.astype(np.float64)
    mean_square = moments.products.diagonal()[d:] / moments.count
    if not fit_intercept:
        mean_square = mean_square + moments.mean[d:] ** 2
    penalties = np.zeros(len(coef))
    if penalty is not None:
        scaled = _scaled_penalty(penalty, moments, d, moments.about(d, fit_intercept)[0].diagonal() > 0.0)
        penalties = scaled.value(coef * (factor[d:, None] / factor[:d]))
    return 0.5 * np.maximum(_mean_square(moments, coef, intercept), 0.0), penalties, 0.5 * mean_square


def attributes_of(coef, intercept, flat, n_updates, batch_size):
    """Return the fitted attributes after a call, but for the curves."""
    return {
        "coef_": (coef[0] if flat else coef).copy(),
        "intercept_": intercept[0] if flat else intercept.copy(),
        "n_iter_": 1,
        "t_": n_updates,
        "learning_rate_": 1.0,
        "batch_size_": batch_size,
        "best_iter_": None,
        "stop_reason_": None,
    }


def _scaled_penalty(penalty, moments, d, varies):
    """Return the penalty of coefficients in the scaled variables of the moments."""
    l1, l2, lower, _ = strengths_and_bounds(penalty)
    if lower is None and not (l1.any() or l2.any()):
        return BoxedElasticNet()
    k, factor = len(moments.factor) - d, moments.factor
    variables = Standardization(np.zeros(d), np.where(varies, factor[:d], 0.0), np.zeros(k), factor[d:])
    return rescale_penalty(penalty, variables, np.ones(k))


def _contradicts(rows, past, d, fit_intercept):
    """Whether the rows after those of ``past`` contradict them by far, for any target; penalties are left out."""
    newest = rows.without(past)
    misfit, best = (_squared_error(newest, of, d, fit_intercept) for of in (rows, newest))
    variance = rows.products.diagonal()[d:] / rows.count
    rounding = ROUNDING * (variance + rows.mean[d:] ** 2) * (rows.count / newest.count)
    best = np.maximum(best, rounding)
    ratio = misfit / np.where(best > 0.0, best, np.inf)
    far = (ratio > CONTRADICTION) & (misfit > CONTRADICTION_SHARE * variance)
    # A model of their own fits equal targets without error: counts sorted by size, for example, of which most are 0.
    varies = newest.products.diagonal()[d:] > rounding * newest.count
    squares, range_ = rows.products.diagonal()[d:], ((rows.high - rows.low) * rows.factor)[d:]
    is_outlier = squares < FEW_OUTLIERS * range_**2 * (rows.count / rows.n_rows)
    return bool(((varies | is_outlier) & (far | (ratio > GROSS_CONTRADICTION))).any())


def _squared_error(moments, of, d, fit_intercept):
    """Return the mean squared error per target, in scaled variables, of the least squares of the moments ``of``."""
    return _mean_square(moments, *minimum(of, None, fit_intercept, np.zeros((len(moments.factor) - d, d))))


def _mean_square(moments, coef, intercept):
    """Return the mean squared error per target, in scaled variables, of given parameters."""
    d, factor = coef.shape[1], moments.factor
    W, b = coef * (factor[d:, None] / factor[:d]), intercept * factor[d:]
    H, c = moments.about(d, fit_intercept=True)
    offset = W @ moments.mean[:d] + b - moments.mean[d:]
    variance = moments.products.diagonal()[d:] / moments.count
    return variance + ((W @ H - 2.0 * c) * W).sum(axis=1) + offset**2
