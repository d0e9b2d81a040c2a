"""LossCurveDisplay: the loss of each epoch as a plot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

# Ratio of the largest to the smallest loss from which the axis is logarithmic, and the number of epochs up to which
# each has a marker.
LOG_RATIO = 10.0
DOTTED_EPOCHS = 30


class LossCurveDisplay:
    """Loss of each epoch of training, and of a validation set where there was one.

    The training loss is drawn solid, the validation loss dashed in the same colour, with a marker at the best epoch.
    It is recommended to use :meth:`from_estimator`; the parameters are stored as attributes.

    Parameters
    ----------
    loss_curve : array-like of shape (n_epochs,)
        Training objective after each epoch of ``fit`` or ``fit_batches``, or after each call of ``partial_fit``.
    validation_loss_curve : array-like of shape (n_epochs,), default=None
        The same of a validation set; NaN leaves a gap.
    best_iter : int, default=None
        Epoch with the lowest validation loss, counted from 1.
    name : str, default=None
        Name of the estimator in the legend.
    unit : str, default="squared units of y"
        Unit of the losses, for the label of the axis.
    step : str, default="epoch"
        What lies between two values of the curve, for the label of the other axis.

    Attributes
    ----------
    lines_ : list of matplotlib.lines.Line2D
        The training curve, then the validation curve where there is one.
    ax_ : matplotlib.axes.Axes
        Axes with the curves.
    figure_ : matplotlib.figure.Figure
        Figure with the axes.

    See Also
    --------
    GDLinearRegressor : The estimator whose ``loss_curve_`` is shown.
    sklearn.model_selection.LearningCurveDisplay : Scores against the number of rows.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_gdlinear import GDLinearRegressor, LossCurveDisplay
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 3))
    >>> y = X @ [1.0, 2.0, 3.0] + rng.normal(size=500)
    >>> model = GDLinearRegressor(early_stopping=True, random_state=0).fit(X, y)
    >>> display = LossCurveDisplay.from_estimator(model)  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        loss_curve: ArrayLike,
        validation_loss_curve: ArrayLike | None = None,
        best_iter: int | None = None,
        name: str | None = None,
        unit: str = "squared units of y",
        step: str = "epoch",
    ) -> None:
        self.loss_curve = loss_curve
        self.validation_loss_curve = validation_loss_curve
        self.best_iter = best_iter
        self.name = name
        self.unit = unit
        self.step = step

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: Axes | None = None, name: str | None = None, line_kw: dict[str, Any] | None = None
    ) -> Self:
        """Draw the curves of a fitted estimator.

        Parameters
        ----------
        estimator : GDLinearRegressor or Pipeline
            A fitted estimator, or a pipeline that ends in one.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw in, also beside the curves of other estimators.  A new figure by default.
        name : str, default=None
            Name of the estimator in the legend.
        line_kw : dict, default=None
            Properties of both lines, for ``matplotlib.axes.Axes.plot``.

        Returns
        -------
        display : LossCurveDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If it keeps no ``loss_curve_``.
        """
        if isinstance(estimator, Pipeline):
            estimator = estimator[-1]
        check_is_fitted(estimator)
        if not hasattr(estimator, "loss_curve_"):
            raise ValueError(
                f"{type(estimator).__name__} has no loss_curve_. Pass a fitted GDLinearRegressor, or a pipeline "
                "that ends in one."
            )
        display = cls(
            loss_curve=estimator.loss_curve_,
            validation_loss_curve=getattr(estimator, "validation_loss_curve_", None),
            best_iter=getattr(estimator, "best_iter_", None),
            name=name,
            unit="units of y" if getattr(estimator, "loss", None) == "quantile" else "squared units of y",
            step="epoch" if getattr(estimator, "stop_reason_", None) is not None else "call of partial_fit",
        )
        return display.plot(ax, line_kw=line_kw)

    def plot(self, ax: Axes | None = None, *, name: str | None = None, line_kw: dict[str, Any] | None = None) -> Self:
        """Draw the curves.

        The axis of the loss becomes logarithmic where the losses on it differ more than tenfold.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw in, also beside the curves of other estimators.  A new figure by default.
        name : str, default=None
            Name of the estimator in the legend; by default the display's own.
        line_kw : dict, default=None
            Properties of both lines, for ``matplotlib.axes.Axes.plot``.

        Returns
        -------
        display : LossCurveDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        try:
            from matplotlib import cbook, pyplot
            from matplotlib.lines import Line2D
            from matplotlib.ticker import MaxNLocator
        except ImportError as error:
            raise ImportError("LossCurveDisplay needs matplotlib: pip install 'sk_gdlinear[plot]'") from error

        if ax is None:
            _, ax = pyplot.subplots()
        name = self.name if name is None else name
        style = cbook.normalize_kwargs(line_kw or {}, Line2D)
        epochs = np.arange(1, np.size(self.loss_curve) + 1)
        dots = {"marker": "."} if len(epochs) <= DOTTED_EPOCHS else {}
        label = "training" if name is None else name
        self.lines_ = ax.plot(epochs, self.loss_curve, **({"label": label} | dots | style))
        if self.validation_loss_curve is not None:
            label = "validation" if name is None else f"{name}, validation"
            dashed: dict[str, Any] = {"color": self.lines_[0].get_color(), "linestyle": "--"}
            if self.best_iter is not None:
                label = f"validation (best epoch: {self.best_iter})" if name is None else label
                dashed |= {"marker": "o", "markerfacecolor": "white", "markevery": [self.best_iter - 1]}
            self.lines_ += ax.plot(epochs, self.validation_loss_curve, **({"label": label} | dashed | style))
        if _span(ax) > LOG_RATIO:
            ax.set_yscale("log")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        ax.set(xlabel=self.step, ylabel=f"loss ({self.unit})")
        ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _span(ax):
    """Ratio of the largest to the smallest value drawn; 1 where a logarithm does not exist."""
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in ax.lines])
    values = values[np.isfinite(values)]
    return values.max() / values.min() if values.size and values.min() > 0.0 else 1.0
