"""RegularizationPathDisplay: coefficients and scores along the strengths of a penalty as a plot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from ._compat import is_other_array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

# Coefficients that get a name in the legend, the largest at the choice first; the others are grey.
NAMED = 8


class RegularizationPathDisplay:
    """Coefficients along the strengths of a penalty, and below them the cross-validated score.

    The strength grows to the left, so that a path begins where all coefficients are 0.  The band is one standard
    deviation of the score over the splits to either side, the vertical line the choice.  It is recommended to use
    :meth:`from_estimator`; the parameters are stored as attributes.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,)
        Strengths of the penalty.
    coefs : array-like of shape (n_coefs, n_alphas) or None
        Coefficients for every strength; None draws the score alone.
    scores : array-like of shape (n_alphas, n_splits)
        Scores on held-out rows.
    alpha : float, default=None
        The strength chosen.
    names : sequence of str, default=None
        Names of the coefficients in the legend, which shows the largest of them.
    score_name : str, default="score"
        Label of the axis of the scores.

    Attributes
    ----------
    lines_ : list of matplotlib.lines.Line2D
        The coefficients.
    score_line_ : matplotlib.lines.Line2D
        The mean score.
    band_ : matplotlib.collections.PolyCollection
        Its spread.
    choice_ : list of matplotlib.lines.Line2D
        The marks of the choice, one in each of the axes.
    ax_ : ndarray of matplotlib.axes.Axes
        Axes of the coefficients, where there are any, and of the score.
    figure_ : matplotlib.figure.Figure
        Figure with the axes.

    See Also
    --------
    GDLinearRegressorCV : The estimator whose paths are shown.
    sklearn.model_selection.ValidationCurveDisplay : Scores along any parameter of any estimator.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_gdlinear import GDLinearRegressorCV, RegularizationPathDisplay
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 5))
    >>> y = X[:, 0] - X[:, 1] + rng.normal(size=200)
    >>> model = GDLinearRegressorCV(penalty="l1").fit(X, y)
    >>> display = RegularizationPathDisplay.from_estimator(model)  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        alphas: ArrayLike,
        coefs: ArrayLike | None,
        scores: ArrayLike,
        alpha: float | None = None,
        names: Any = None,
        score_name: str = "score",
    ) -> None:
        self.alphas = alphas
        self.coefs = coefs
        self.scores = scores
        self.alpha = alpha
        self.names = names
        self.score_name = score_name

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: ArrayLike | Axes | None = None, line_kw: dict[str, Any] | None = None
    ) -> Self:
        """Draw the path of a fitted estimator, for the share of absolute values that it chose.

        Parameters
        ----------
        estimator : GDLinearRegressorCV or Pipeline
            A fitted estimator, or a pipeline whose last step it is.
        ax : matplotlib.axes.Axes or sequence of two, default=None
            Axes of the coefficients and of the score; a single one is for the score alone.  A new figure by default.
        line_kw : dict, default=None
            Properties of the lines of the coefficients, for ``matplotlib.axes.Axes.plot``.

        Returns
        -------
        display : RegularizationPathDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If it has no ``cv_results_`` along ``param_alpha``.
        """
        if isinstance(estimator, Pipeline):
            estimator = estimator[-1]
        check_is_fitted(estimator)
        results = getattr(estimator, "cv_results_", {})
        if not {"param_alpha", "param_l1_ratio"} <= set(results):
            raise ValueError(
                f"{type(estimator).__name__} has no cv_results_ along param_alpha. Pass a fitted GDLinearRegressorCV, "
                "or a pipeline whose last step it is."
            )
        chosen = np.flatnonzero(results["param_l1_ratio"] == estimator.l1_ratio_)
        splits = [name for name in results if name.startswith("split")]
        coefs, names = getattr(estimator, "coef_path_", None), getattr(estimator, "feature_names_in_", None)
        if is_other_array(coefs):
            from ._array.checks import in_numpy

            coefs = in_numpy(coefs)
        if coefs is not None:
            names = [f"x{j}" for j in range(coefs.shape[-2])] if names is None else list(names)
            if coefs.ndim == 3:
                names = [f"{name}, target {target}" for target in range(len(coefs)) for name in names]
            coefs = coefs.reshape(-1, coefs.shape[-1])
        scoring = "negative held-out loss" if estimator.scoring is None else estimator.scoring
        display = cls(
            alphas=results["param_alpha"][chosen],
            coefs=coefs,
            scores=np.column_stack([results[name][chosen] for name in splits]),
            alpha=estimator.alpha_,
            names=names,
            score_name=scoring
            if isinstance(scoring, str)
            else "negative held-out loss"
            if scoring is None
            else "score",
        )
        return display.plot(ax, line_kw=line_kw)

    def plot(self, ax: ArrayLike | Axes | None = None, *, line_kw: dict[str, Any] | None = None) -> Self:
        """Draw the path.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or sequence of two, default=None
            Axes of the coefficients and of the score; a single one is for the score alone.  A new figure by default.
        line_kw : dict, default=None
            Properties of the lines of the coefficients, for ``matplotlib.axes.Axes.plot``.

        Returns
        -------
        display : RegularizationPathDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there are more than two axes.
        """
        try:
            from matplotlib import cbook, pyplot
            from matplotlib.lines import Line2D
        except ImportError as error:
            raise ImportError("RegularizationPathDisplay needs matplotlib: pip install 'sk_gdlinear[plot]'") from error

        if ax is None:
            heights = [1.0] if self.coefs is None else [1.6, 1.0]
            size = (6.4, 3.2 * len(heights))
            _, ax = pyplot.subplots(
                len(heights), sharex=True, figsize=size, layout="constrained", height_ratios=heights
            )
        axes = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
        if len(axes) > 2:
            raise ValueError(
                f"ax must be one or two matplotlib axes, got {len(axes)}: those of the coefficients and of the score."
            )
        alphas = np.asarray(self.alphas, dtype=np.float64)
        self.lines_: list[Any] = []
        if self.coefs is not None and len(axes) == 2:
            style = cbook.normalize_kwargs(line_kw or {}, Line2D)
            self.lines_ = self._plot_coefs(axes[0], alphas, np.asarray(self.coefs), style)
        scores = np.asarray(self.scores, dtype=np.float64)
        mean, spread = scores.mean(axis=1), scores.std(axis=1)
        (self.score_line_,) = axes[-1].plot(alphas, mean, color="black")
        self.band_ = axes[-1].fill_between(alphas, mean - spread, mean + spread, color="black", alpha=0.15, linewidth=0)
        axes[-1].set(xlabel="alpha", ylabel=self.score_name)
        self.choice_ = []
        for one in axes:
            if (alphas > 0.0).all():
                one.set_xscale("log")
            one.set_xlim(alphas.max(), alphas.min()) if len(np.unique(alphas)) > 1 else None
            if self.alpha is not None:
                self.choice_.append(one.axvline(self.alpha, color="black", linestyle="--", linewidth=1))
        if self.alpha is not None:
            self.choice_[-1].set_label(f"alpha = {self.alpha:.3g}")
            axes[-1].legend(handles=[self.choice_[-1]])
        self.ax_, self.figure_ = axes, axes[0].figure
        return self

    def _plot_coefs(self, ax, alphas, coefs, style):
        """Draw the coefficients, and name the largest."""
        names = range(len(coefs)) if self.names is None else self.names
        size = np.abs(coefs[:, np.abs(alphas - self.alpha).argmin()] if self.alpha is not None else coefs[:, -1])
        named = {j for j in np.argsort(-size, kind="stable")[:NAMED] if size[j] > 0.0}
        lines = []
        for j, (coef, name) in enumerate(zip(coefs, names, strict=True)):
            look = {} if j in named else {"color": "0.75", "linewidth": 0.8, "zorder": 1}
            lines += ax.plot(alphas, coef, **({"label": str(name)} if j in named else {}) | look | style)
        ax.axhline(0.0, color="0.5", linewidth=0.8, zorder=0)
        ax.set_ylabel("coefficient")
        handles = [lines[j] for j in sorted(named, key=lambda j: -size[j])]
        if handles:
            ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small")
        return lines
