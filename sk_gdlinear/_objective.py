r"""The derivation: objective, error, gradients and proximal step as pure functions of arrays.

Shapes follow ``torch.nn.Linear``: ``X (n, d)``, ``W (k, d)``, ``b (k,)``, ``Y (n, k)``.  One target is ``k = 1``.

.. math::

    \hat Y &= X W^\top + b                                  &&\text{forward} \\
    E &= \hat Y - Y                                         &&\text{error} \\
    L &= \tfrac{1}{n} \textstyle\sum \tfrac12 E^2           &&\text{half mean squared error, summed over targets} \\
    G &= \partial L / \partial \hat Y = E / n               &&\text{n = rows of this batch} \\
    \nabla W &= G^\top X \qquad \nabla b = \textstyle\sum_{\text{rows}} G \\
    W &\leftarrow W - \eta \nabla W \qquad b \leftarrow b - \eta \nabla b

Why ``1/n``: the sum of ``n`` rows' gradients grows with the batch, and with it every step; the mean does not.  The
last, short batch divides by its own number of rows.

With sample weights ``s`` the objective is ``sum(s * E**2 / 2) / sum(s)`` and a batch of ``m`` rows uses ``G = s * E /
(m * mean(s))``, ``mean(s)`` taken over all rows, not over the batch: dividing by the batch's own sum would cancel the
weights.  The functions here take ``weight = s / mean(s)``, or None for equal weights.

Another loss puts its derivative in the place of ``E`` in ``G`` (see ``Loss``), a penalty follows each update with a
proximal step (see ``Penalty``); the other lines stay.

``torch.nn.MSELoss`` and river's ``Squared`` are twice this loss.
"""

from typing import NamedTuple

import numpy as np

# A kink is smoothed over this part of the size of the errors, and never over less than this part of the targets'.
SMOOTHING = 0.25
LEAST_SMOOTHING = 1e-5


class Loss(NamedTuple):
    r"""A loss whose derivative by the prediction is linear in the error, within bounds.

    .. math:: \psi(e) = \operatorname{clip}(e + c, \text{low}, \text{high}), \qquad
              \ell(e) = c e + u \left(e - \tfrac12 u\right), \quad u = \psi(e) - c.

    All three numbers are in units of the error.  The largest second derivative is 1, as the automatic step assumes: a
    steeper loss is its slope times one of these, and it is the objective over that slope, penalty and all, that is
    descended.
    """

    offset: np.ndarray  # c; each of shape (k,), or one number for all targets
    low: np.ndarray
    high: np.ndarray

    def scaled(self, factor, dtype):
        """Return the loss ``factor**2 * loss(E / factor)`` of errors in other units, ``factor`` one per target."""
        with np.errstate(over="ignore", invalid="ignore"):
            return Loss(*((value * factor).astype(dtype) for value in self))

    @property
    def is_squared_error(self):
        """Whether it is half the square of the error."""
        return getattr(self.high, "flat", (self.high,))[0] == np.inf  # of one target as of all

    def derivative(self, E):
        """Return the derivative of the loss of each error."""
        return np.clip(E + self.offset, self.low, self.high)

    def value(self, E):
        """Return the loss of each error."""
        if self.is_squared_error:  # the same in one pass, as this is done between all epochs
            return 0.5 * E * E
        u = self.derivative(E) - self.offset
        return self.offset * E + u * (E - 0.5 * u)

    def largest(self, size):
        """Return the largest mean loss that errors of a root mean square ``size`` can have.

        That is when all are equal: the loss is concave in the square of the error, on either side.  It is infinite
        where it has no number.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            return np.fmax(self.value(size), self.value(-size))  # of infinite terms the one side may have no value


def squared_error(width):
    """Half the square of the error."""
    return 1.0, Loss(0.0, -np.inf, np.inf)


def huber(width, epsilon):
    """Half the square of errors up to ``epsilon``, and ``epsilon * (|e| - epsilon / 2)`` beyond."""
    return 1.0, Loss(0.0, -epsilon, epsilon)


def quantile(width, quantile):
    """``quantile * |e|`` of predictions too low, ``(1 - quantile) * |e|`` of those too high; smooth within ``width``.

    The derivative is that of the loss averaged over a uniform distribution of that half-width: M. Fernandes, E. Guerre
    and E. Horta, "Smoothing Quantile Regressions", Journal of Business & Economic Statistics 39, 2021.
    """
    width = np.maximum(width, np.finfo(np.float64).tiny)  # of a narrower one the slope has no number
    return 0.5 / width, Loss(*(2.0 * width * value for value in (0.5 - quantile, -quantile, 1.0 - quantile)))


# From the name of a loss to a function of the half-width over which a kink is to be smoothed and of parameters of the
# estimator, which returns the slope and the loss over it; the names of the parameters; and whether there is a kink.
# Errors, widths and bounds are in units of y.
LOSSES = {
    "squared_error": (squared_error, (), False),
    "huber": (huber, ("epsilon",), False),
    "quantile": (quantile, ("quantile",), True),
}


def smoothing_width(loss, error_size, target_size):
    """Return the half-width over which to smooth a kink: less where errors on one side of it are rare."""
    high = np.asarray(loss.high)  # 0 where the loss is too narrow to tell
    odds = np.divide(-loss.low, high, out=np.ones_like(high), where=high > 0.0)
    rarity = np.sqrt(odds) / (1.0 + odds)  # of a quantile q: sqrt(q (1 - q))
    return np.maximum(SMOOTHING * rarity * error_size, LEAST_SMOOTHING * target_size)


class Penalty(NamedTuple):
    r"""A penalty on each weight, :math:`l_1 |w| + \tfrac12 l_2 w^2`, and whether weights must not be negative.

    The intercept is free.  None is no penalty at all.
    """

    l1: np.ndarray | None  # (k, d)
    l2: np.ndarray | None  # (k, d)
    positive: bool

    def value(self, W):
        """Return the penalty per target, shape (k,)."""
        if self.l1 is None:
            return np.zeros(len(W))
        W = W.astype(np.float64, copy=False)
        with np.errstate(over="ignore"):  # infinite where it has no number
            return (self.l1 * np.abs(W) + 0.5 * self.l2 * W * W).sum(axis=1)

    def proximal(self, W, step):
        """Return ``w`` that minimises ``|w - W|^2 / (2 step) + penalty(w)``: ``soft(W, step l1) / (1 + step l2)``.

        What is averaged is ``W`` before this step, together with the steps, and the answer is the proximal step from
        the average: it has the zeros that an average of answers would smear (L. Xiao, "Dual Averaging Methods for
        Regularized Stochastic Learning and Online Optimization", JMLR 11, 2010), and where descent has converged it is
        the optimum whatever the steps were.
        """
        if self.l1 is None:
            return W
        width = step * self.l1
        W = (W - np.clip(W, -width, width)) / (1.0 + step * self.l2)
        return np.maximum(W, 0.0) if self.positive else W


def forward(X, W, b):
    """Prediction ``X W^T + b``, shape (n, k)."""
    prediction = X @ W.T
    prediction += b
    return prediction


def error(prediction, Y):
    """Error ``prediction - Y``, shape (n, k)."""
    return prediction - Y


def batch_loss(E, loss, weight=None):
    """Loss averaged over the rows, one value per target, shape (k,).

    The objective is the sum of these values and of the penalty.  Accumulated in float64.
    """
    value = loss.value(E.astype("float64", copy=False))
    if weight is not None:
        value *= weight[:, None]
    return value.sum(axis=0) / E.shape[0]


def row_derivative(E, loss, weight):
    """Return the derivative of each row's weighted loss by its prediction, ``s * psi(E)``, shape (n, k)."""
    derivative = loss.derivative(E)
    if weight is not None:
        derivative *= weight[:, None]
    return derivative


def output_gradient(E, loss, weight=None):
    """Gradient of the mean loss with respect to the prediction, ``G = psi(E) / n``, shape (n, k)."""
    return row_derivative(E, loss, weight) / E.shape[0]


def coef_gradient(G, X):
    """Gradient with respect to ``W``: ``G^T X``, shape (k, d)."""
    return G.T @ X


def intercept_gradient(G):
    """Gradient with respect to ``b``: the sum of the rows of ``G``, shape (k,)."""
    return G.sum(axis=0)
