r"""Losses: the built-in ones, written against the public protocol, and the same in standardized units.

A descent needs of a loss its value, its derivative, and the largest slope of its derivative, which bounds the step.
The descent minimises the loss in standardized errors :math:`e' = e / u`, ``u`` the unit of the target, divided by that
slope:

.. math:: \ell'(e') = \frac{\ell(u e')}{u^2 \, \mathrm{lipschitz}}, \qquad
          \psi'(e') = \frac{\psi(u e')}{u \, \mathrm{lipschitz}},

so that the largest second derivative is 1, as the automatic step assumes.  The derivatives of all built-in losses are
lines within bounds (``ClippedLine``), which is the family that the compiled kernels know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from .parameters import Parameters

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# A kink is smoothed over this part of the size of the errors.
SMOOTHING = 0.25

# Sizes of errors, relative to their root mean square, of which mixtures are taken to bound the mean loss.
RATIOS = np.concatenate([[0.0], np.logspace(-3, -0.25, 12), [1.0], np.logspace(0.25, 3, 12)])

# Step of the central differences that approximate a second derivative, relative to the size of the error; and the least
# size, relative to the unit of the target.
DIFFERENCE_STEP = 1e-4
LEAST_SIZE = 1e-2


@runtime_checkable
class Loss(Protocol):
    r"""What an object passed as ``loss`` must offer.

    Errors are predictions less targets, in units of y.  Both methods work elementwise: they get an array of any shape,
    theirs to overwrite, and return one of that shape.  Let the least value be 0, since ``tol`` is relative to the loss,
    and let the derivative not decrease (a convex loss): where it does, ``fit`` finds a minimum, but which one depends
    on the start.

    A loss with a kink has an infinite ``lipschitz``.  It may be used if it also has a method ``smoothed(width)`` that
    returns a loss without a kink, whose derivative differs from this one's only for errors within ``width`` of the
    kink.  ``width`` is an array with one number per target, and so may be the ``lipschitz`` of what is returned.

    ``fit`` and the first ``partial_fit`` compare value, derivative and ``lipschitz``, and raise ``ValueError`` where
    they contradict each other.

    Attributes
    ----------
    lipschitz : float
        The largest slope of ``derivative``, :math:`|\psi(a) - \psi(b)| \le \mathrm{lipschitz} \, |a - b|`, by which
        the automatic step is bounded.

    See Also
    --------
    sk_gdlinear.GDLinearRegressor : Takes such an object as ``loss``.
    sk_gdlinear.penalties.Penalty : The same for penalties.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_gdlinear import GDLinearRegressor
    >>> class LogCosh:
    ...     lipschitz = 1.0
    ...
    ...     def value(self, e):
    ...         return np.logaddexp(e, -e) - np.log(2.0)
    ...
    ...     def derivative(self, e):
    ...         return np.tanh(e)
    >>> X = np.arange(20.0).reshape(-1, 1)
    >>> y = 2.0 * X[:, 0] + 1.0
    >>> y[3] = 1e3
    >>> model = GDLinearRegressor(LogCosh(), random_state=0, tol=1e-8).fit(X, y)
    >>> model.coef_.round(1)
    array([2.])
    """

    @property
    def lipschitz(self) -> float | NDArray[np.float64]:
        r"""The largest slope of ``derivative``, :math:`|\psi(a) - \psi(b)| \le \mathrm{lipschitz} \, |a - b|`."""

    def value(self, e: NDArray[np.float64], /) -> NDArray[np.float64]:
        """Return the loss of each error.

        Parameters
        ----------
        e : ndarray of float64
            Errors, predictions less targets.

        Returns
        -------
        value : ndarray of the shape of ``e``
            Their losses.
        """

    def derivative(self, e: NDArray[np.float64], /) -> NDArray[np.float64]:
        """Return the derivative of the loss of each error by the prediction.

        Parameters
        ----------
        e : ndarray of float64
            Errors, predictions less targets.

        Returns
        -------
        derivative : ndarray of the shape of ``e``
            Their derivatives.
        """


class BuiltinLoss(Parameters):
    """What the built-in losses share: value and derivative, by their ``ClippedLine``."""

    lipschitz: Any = 1.0

    def value(self, e: ArrayLike) -> NDArray[np.float64]:
        """Return the loss of each error.

        Parameters
        ----------
        e : array-like
            Errors, predictions less targets.

        Returns
        -------
        value : ndarray of the shape of ``e``
            Their losses.
        """
        return clipped_line(self).value(np.asarray(e, dtype=np.float64))

    def derivative(self, e: ArrayLike) -> NDArray[np.float64]:
        """Return the derivative of the loss of each error by the prediction.

        Parameters
        ----------
        e : array-like
            Errors, predictions less targets.

        Returns
        -------
        derivative : ndarray of the shape of ``e``
            Their derivatives.
        """
        return clipped_line(self).derivative(np.asarray(e, dtype=np.float64))


class SquaredError(BuiltinLoss):
    r"""Half the square of the error, :math:`\ell(e) = e^2 / 2`.

    The loss of least squares, and the default: ``loss="squared_error"``.

    Attributes
    ----------
    lipschitz : float
        1.

    See Also
    --------
    Huber : The same for small errors, linear for large ones.

    Examples
    --------
    >>> from sk_gdlinear.losses import SquaredError
    >>> float(SquaredError().value(3.0))
    4.5
    """


class Huber(BuiltinLoss):
    r"""Half the square of errors up to ``epsilon``, linear beyond: :math:`\epsilon (|e| - \epsilon / 2)`.

    The object that ``loss="huber"`` makes of the estimator's own ``epsilon``.

    Parameters
    ----------
    epsilon : float, default=1.35
        Error beyond which the loss is linear, in units of y.

    Attributes
    ----------
    lipschitz : float
        1.

    See Also
    --------
    SquaredError : Without the bound.
    Quantile : With ``quantile=0.5``, half the absolute error.

    References
    ----------
    P. J. Huber, "Robust Estimation of a Location Parameter", Annals of Mathematical Statistics 35, 1964.

    Examples
    --------
    >>> from sk_gdlinear.losses import Huber
    >>> float(Huber(epsilon=1.0).value(3.0))
    2.5
    """

    def __init__(self, epsilon: float = 1.35) -> None:
        self.epsilon = epsilon


class Quantile(Parameters):
    r"""The pinball loss: :math:`q |e|` where the prediction is too low, :math:`(1 - q) |e|` where it is too high.

    Its kink at 0 has no slope.  A descent minimises ``smoothed(width)`` instead and narrows the width as the errors
    become smaller.  The object that ``loss="quantile"`` makes of the estimator's own ``quantile``.

    Parameters
    ----------
    quantile : float, default=0.5
        The quantile ``q`` to predict, between 0 and 1.

    Attributes
    ----------
    lipschitz : float
        Infinite.

    See Also
    --------
    Huber : Robust as well, and smooth.

    References
    ----------
    M. Fernandes, E. Guerre and E. Horta, "Smoothing Quantile Regressions", Journal of Business & Economic Statistics
    39, 2021.

    Examples
    --------
    >>> from sk_gdlinear.losses import Quantile
    >>> loss = Quantile(0.9)
    >>> round(float(loss.value(-2.0)), 6), round(float(loss.value(2.0)), 6)
    (1.8, 0.2)
    """

    lipschitz = np.inf

    def __init__(self, quantile: float = 0.5) -> None:
        self.quantile = quantile

    def value(self, e: ArrayLike) -> NDArray[np.float64]:
        """Return the loss of each error.

        Parameters
        ----------
        e : array-like
            Errors, predictions less targets.

        Returns
        -------
        value : ndarray of the shape of ``e``
            Their losses.
        """
        e = np.asarray(e, dtype=np.float64)
        return np.maximum(-self.quantile * e, (1.0 - self.quantile) * e)

    def derivative(self, e: ArrayLike) -> NDArray[np.float64]:
        """Return the derivative of the loss of each error by the prediction, 0 at the kink.

        Parameters
        ----------
        e : array-like
            Errors, predictions less targets.

        Returns
        -------
        derivative : ndarray of the shape of ``e``
            Their derivatives.
        """
        e = np.asarray(e, dtype=np.float64)
        return np.where(e > 0, 1.0 - self.quantile, np.where(e < 0, -self.quantile, 0.0))

    def smoothed(self, width: ArrayLike) -> Loss:
        """Return the loss averaged over a uniform distribution about each error.

        Parameters
        ----------
        width : float or array-like of shape (n_targets,)
            Half-width of that distribution, in units of y.

        Returns
        -------
        loss : Loss
            A loss without a kink, whose ``lipschitz`` is ``0.5 / width``.
        """
        return SmoothedQuantile(self.quantile, width)


class SmoothedQuantile(BuiltinLoss):
    """The pinball loss of ``quantile``, averaged over errors within ``width``, an array of one width per target."""

    def __init__(self, quantile, width):
        self.quantile = quantile
        self.width = np.maximum(width, np.finfo(np.float64).tiny)  # the slope of a narrower one is not a number

    @property
    def lipschitz(self):
        """The largest slope of the derivative."""
        return 0.5 / self.width

    def value(self, e):
        """Return the loss of each error."""
        return super().value(e) * self.lipschitz + 0.25 * self.width  # the line leaves out the constant

    def derivative(self, e):
        """Return the derivative of the loss of each error."""
        return super().derivative(e) * self.lipschitz


class ClippedLine(NamedTuple):
    r"""A loss in standardized units whose derivative is a line of slope 1 within bounds.

    .. math:: \psi(e) = \operatorname{clip}(e + c, \text{low}, \text{high}), \qquad
              \ell(e) = c e + u \left(e - \tfrac12 u\right), \quad u = \psi(e) - c.

    All three numbers are in units of the error.
    """

    offset: np.ndarray  # c; each of shape (k,), or one number for all targets
    low: np.ndarray
    high: np.ndarray

    def scaled(self, factor, dtype):
        """Return the loss ``factor**2 * loss(E / factor)`` of errors in other units, ``factor`` one per target."""
        with np.errstate(over="ignore", invalid="ignore"):
            return ClippedLine(*((value * factor).astype(dtype) for value in self))

    @property
    def is_quadratic(self):
        """Whether the second derivative is 1 everywhere."""
        return getattr(self.high, "flat", (self.high,))[0] == np.inf  # of one target as of all

    def within_bounds(self, derivative):
        """Return derivatives, moved to the bounds where they are beyond."""
        return np.clip(derivative, self.low, self.high)

    def derivative(self, E):
        """Return the derivative of the loss of each error."""
        return self.within_bounds(E + self.offset)

    def value(self, E):
        """Return the loss of each error."""
        if self.is_quadratic:  # in one pass: this is done after every epoch
            return 0.5 * E * E
        u = np.clip(E, self.low - self.offset, self.high - self.offset)
        value = u * (E - 0.5 * u)
        return value + self.offset * E if np.any(self.offset) else value

    def curvature(self, E):
        """Return the second derivative of the loss of each error: 1 within the bounds, 0 beyond."""
        line = E + self.offset
        return ((line > self.low) & (line < self.high)).astype(np.float64)


def clipped_line(loss, symmetric=False):
    """Return the derivative of a built-in loss over its ``lipschitz`` as a line within bounds.

    Where ``symmetric``, a bool or one for each target, that of a smoothed quantile goes through 0, so that its loss is
    least for errors of 0.  A descent begins with it, near the mean of the targets, and equal targets keep it.
    """
    if type(loss) is SmoothedQuantile:
        offset = np.where(symmetric, 0.0, 0.5 - loss.quantile)
        return ClippedLine(*(2.0 * loss.width * value for value in (offset, -loss.quantile, 1.0 - loss.quantile)))
    most = loss.epsilon if isinstance(loss, Huber) else np.inf
    return ClippedLine(0.0, -most, most)


class RescaledLoss:
    """A loss of the user's, of errors in standardized units, divided by the largest slope of its derivative.

    Parameters
    ----------
    loss : Loss
    unit : ndarray of shape (k,)
        Units of the targets: errors in units of y are ``unit`` times these.
    lipschitz : float or ndarray of shape (k,)
        Largest slope of the derivative.
    """

    is_quadratic = False

    def __init__(self, loss, unit, lipschitz):
        self.loss, self.unit, self.lipschitz = loss, unit, lipschitz

    def derivative(self, E):
        """Return the derivative of the loss of each error."""
        return (self._derivative(E.astype(np.float64) * self.unit) / (self.unit * self.lipschitz)).astype(E.dtype)

    def value(self, E):
        """Return the loss of each error."""
        e = E.astype(np.float64) * self.unit
        value = self._numbers(self.loss.value, "value", e)
        return value / self.unit / (self.unit * self.lipschitz)  # the square of the unit may be 0

    def curvature(self, E):
        """Return the second derivative of the loss of each error, by differences."""
        e = E.astype(np.float64) * self.unit
        step = DIFFERENCE_STEP * np.maximum(np.abs(e), LEAST_SIZE * self.unit)
        change = self._derivative(e + step) - self._derivative(e - step)
        return np.clip(change / (2.0 * step * self.lipschitz), 0.0, 1.0)

    def largest(self, size):
        """Return the largest mean loss of errors of root mean square ``size``, (k,).

        It is the concave envelope of the loss as a function of the square of the error, here on a grid of sizes: errors
        of at most two different sizes attain it.
        """
        E, squares, middle = np.multiply.outer(RATIOS, size), RATIOS**2, int(np.flatnonzero(RATIOS == 1.0)[0])
        with np.errstate(over="ignore", invalid="ignore"):
            larger = np.fmax(self.value(E), self.value(-E))
            below, above = slice(middle), slice(middle + 1, None)
            share = ((squares[above] - 1.0) / np.subtract.outer(squares[above], squares[below]).T)[..., None]
            mixtures = share * larger[below, None] + (1.0 - share) * larger[above]
            return np.fmax(larger[middle], np.fmax.reduce(mixtures, axis=(0, 1)))

    def _derivative(self, e):
        return self._numbers(self.loss.derivative, "derivative", e)

    def _numbers(self, method, name, e):
        """Return what a method of the loss returns for errors ``e``, as an array of its own.

        Raises
        ------
        ValueError
            If it has another shape, or holds NaN for errors that are numbers.
        """
        result = np.array(method(e.copy()), dtype=np.float64)
        if result.shape != e.shape:
            raise ValueError(
                f"{name}(e) must return one number for each error: got shape {result.shape} from {self.loss!r} for "
                f"errors of shape {e.shape}."
            )
        if (missing := np.isnan(result) & np.isfinite(e)).any():
            raise ValueError(f"{name}(e) of {self.loss!r} returned NaN for an error of {e[missing][0]:.6g}.")
        return result


def largest_loss(loss, size):
    """Return the largest mean loss of errors of root mean square ``size``, (k,), in standardized units.

    It is infinite where it is not a number.
    """
    if isinstance(loss, RescaledLoss):
        return loss.largest(size)
    # Built-in losses are concave in the square of the error: the mean is largest where all errors are the same.
    with np.errstate(over="ignore", invalid="ignore"):
        if loss.is_quadratic:
            return loss.value(size)
        return np.fmax(loss.value(size), loss.value(-size))  # where terms are infinite one side may be NaN


def relative_width(loss):
    """Return the half-width to smooth a kink over, relative to the errors: less where errors on one side are rare."""
    return SMOOTHING * np.sqrt(loss.quantile * (1.0 - loss.quantile)) if type(loss) is Quantile else SMOOTHING


# From the names of the built-in losses to their classes, and the parameters of the estimator that these take.
LOSSES = {"squared_error": (SquaredError, ()), "huber": (Huber, ("epsilon",)), "quantile": (Quantile, ("quantile",))}

# The losses that ``clipped_line`` knows, and hence the kernels.
COMPILED = (SquaredError, Huber, SmoothedQuantile)

for _public in (Loss, SquaredError, Huber, Quantile):
    _public.__module__ = "sk_gdlinear.losses"  # the public name is the one that pickles hold
