"""GDLinearRegressorCV: the strength of the penalty chosen by cross-validation.  No mathematics."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from inspect import signature
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import check_scoring, get_scorer_names
from sklearn.model_selection import check_cv
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.parallel import Parallel, delayed

from ._compat import (
    Interval,
    StrOptions,
    accepts_weights,
    has_other_arrays,
    validate_parameter_constraints,
)
from ._cross_validation import KNOWN_SCORES, Grid, Problem, search
from ._data.checks import make_generator
from ._data.folds import Folds
from ._data.statistics import StreamStatistics
from ._fit.path import EPS_L1, EPS_L2, alpha_grid, strongest_alpha
from ._in_memory import InMemoryMixin
from ._prediction import checked_predictions
from .base import GDLinearModel
from .estimator import GDLinearRegressor

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from sklearn.model_selection import BaseCrossValidator

    from ._objective.losses import Loss
    from .base import Rows

_OF_MODEL = GDLinearModel._parameter_constraints


class GDLinearRegressorCV(InMemoryMixin, BaseEstimator):
    r"""Linear regression whose penalty is chosen by cross-validation, at the price of few fits.

    Chooses ``alpha``, and ``l1_ratio`` with "elasticnet", as a grid search over ``GDLinearRegressor`` would, and fits
    the model of all rows with them.  For squared errors the joint second moments of features and targets are computed
    once, by groups of rows that no split separates.  What a split trains on is a sum of them; all its strengths are
    fitted from that sum alone, each from the answer for the one before it, and scored by the moments of what it holds
    out.  Nothing of a held-out row enters the model that it is scored with.

    Other losses, more than 4,096 features, ``standardize=False`` and ``precondition=False`` make one fit of
    ``GDLinearRegressor`` per strength and split, each from the answer for the strength before it.  X is never copied,
    but for a score that is computed from predictions, which gets a copy of the held-out rows.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,), default=None
        Strengths to compare, each at least 0, with the meaning of ``alpha`` in ``GDLinearRegressor``: relative to the
        mean loss, as in ``LassoCV``, so that ``RidgeCV``'s are ``n_samples`` times as large.  None takes ``n_alphas``
        strengths from the data: with absolute values down from the least for which all coefficients are 0, with "l2"
        down from ten times the sum of the features' variances.
    l1_ratio : float or array-like of shape (n_l1_ratios,), default=0.15
        Share of the absolute values in "elasticnet", from 0 to 1, or the shares to compare.
    penalty : {"l2", "l1", "elasticnet"}, default="l2"
        The penalty whose strength is chosen: that of ``Ridge``, ``Lasso`` or ``ElasticNet``.  It acts on ``coef_`` in
        the units of the data, so put a ``StandardScaler`` before it where these units mean nothing.
    loss : {"squared_error", "huber", "quantile"} or object, default="squared_error"
        Loss of an error, as in ``GDLinearRegressor``.
    epsilon : float, default=1.35
        Error beyond which "huber" is linear, in units of y.
    quantile : float, default=0.5
        The quantile to predict with "quantile", between 0 and 1.
    fit_intercept : bool, default=True
        Whether to learn an intercept.
    positive : bool, default=False
        Whether coefficients must not be negative.
    eps : float, default=None
        Ratio of the weakest to the strongest penalty where ``alphas`` is None.  None is 1e-3, as in ``LassoCV``, and
        1e-9 without absolute values.
    n_alphas : int, default=100
        Number of strengths where ``alphas`` is None.
    cv : int, splitter or iterable, default=None
        The splits: a number of folds of consecutive rows, a splitter of scikit-learn, or pairs of arrays of row
        numbers.  None is 5 folds.
    scoring : str or callable, default=None
        What is compared on held-out rows, the higher the better: a name that scikit-learn knows, or ``scorer(model, X,
        y)``.  None is the mean loss without the penalty, negated: for squared errors "neg_mean_squared_error".
        ``GridSearchCV`` and ``RidgeCV(cv=5)`` take "r2".
    rule : {"best", "one_se"}, default="best"
        Which strength is chosen: the one with the best mean score, or the strongest whose mean score is within one
        standard error of that, for the simplest model that is about as good [1]_.
    batch_size : int, None or "auto", default="auto"
        Rows per update of a descent.
    standardize : bool, default=True
        Whether a descent runs in standardized variables.
    precondition : bool or "auto", default="auto"
        Whether second moments of the features are used; False descends without.
    max_iter : int, default=1000
        Epochs of a descent at most.
    tol : float or None, default=1e-4
        Part of the objective of the best constant that a descent may leave to gain.  Fits from moments are exact.
    n_jobs : int, default=None
        Threads over which the splits are shared.  None is 1, or that of a ``joblib.parallel_config``; -1 is all cores.
    random_state : int, RandomState or None, default=None
        Seed of the row orders of the descents.
    verbose : int, default=0
        1 prints a line per split.

    Attributes
    ----------
    alpha_ : float
        The strength chosen.
    l1_ratio_ : float
        The share of absolute values chosen: 0 for "l2", 1 for "l1".
    alphas_ : ndarray of shape (n_alphas,) or (n_l1_ratios, n_alphas)
        The strengths compared, the strongest first; 2-D if they depend on the share.
    mse_path_ : ndarray of shape (n_alphas, n_splits) or (n_l1_ratios, n_alphas, n_splits)
        Mean squared error on the held-out rows, the mean over targets; 3-D if there are several shares.
    cv_results_ : dict of ndarray
        A table for ``pandas.DataFrame``, with the columns of ``GridSearchCV``: "param_alpha", "param_l1_ratio",
        "mean_test_score", "std_test_score", "rank_test_score" and "split0_test_score" and so on.
    best_index_ : int
        Row of the choice in that table.
    best_score_ : float
        Its mean score.
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients of the model of all rows, of the dtype of X; 1-D if y was.
    intercept_ : numpy.float64 or ndarray of shape (n_targets,)
        Intercept, in float64; 0 if ``fit_intercept=False``.
    coef_path_ : ndarray of shape (n_features, n_alphas) or (n_targets, n_features, n_alphas)
        Coefficients of the model of all rows for every strength, with the share chosen, in the order of ``lasso_path``;
        only for up to 4,096 features.
    n_iter_ : int
        Epochs of the model of all rows; 1 where it comes from moments.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, only if X had string column names.

    See Also
    --------
    GDLinearRegressor : The model for one strength.
    RegularizationPathDisplay : A picture of coefficients and scores.
    sklearn.linear_model.RidgeCV : The same for "l2".
    sklearn.linear_model.LassoCV : The same for "l1".
    sklearn.linear_model.ElasticNetCV : The same for "elasticnet".

    Notes
    -----
    Integer weights equal repeated rows within a split, in the fits and in the held-out scores; the mean over splits is
    not weighted.  Scorers get the weights if they take ``sample_weight``.  Several targets share one strength.

    With scikit-learn's ``array_api_dispatch``, X may be an array of another library, such as a tensor on a GPU: the
    fitted arrays, ``alphas_`` and ``mse_path_`` included, are then where X is, and ``cv_results_`` is in NumPy.  For
    squared errors only second moments are brought to NumPy.  The splitter gets X as it is and y in NumPy, a score that
    is computed from predictions a model and held-out rows in NumPy.

    Groups of rows, for ``GroupKFold`` and its like, are passed as ``fit(X, y, groups=...)`` once metadata routing is
    on: ``sklearn.set_config(enable_metadata_routing=True)``.

    References
    ----------
    .. [1] J. Friedman, T. Hastie and R. Tibshirani, "Regularization Paths for Generalized Linear Models via Coordinate
       Descent", Journal of Statistical Software 33, 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_gdlinear import GDLinearRegressorCV
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 20))
    >>> y = X[:, 0] - 2.0 * X[:, 1] + rng.normal(size=300)
    >>> model = GDLinearRegressorCV(penalty="l1", rule="one_se").fit(X, y)
    >>> np.flatnonzero(model.coef_)
    array([0, 1])
    >>> model.cv_results_["mean_test_score"].shape
    (100,)
    """

    alpha_: float
    l1_ratio_: float
    coef_: NDArray[np.floating]
    intercept_: np.float64 | NDArray[np.float64]

    _parameter_constraints = {
        "alphas": ["array-like", None],
        "l1_ratio": [Interval(Real, 0, 1, closed="both"), "array-like"],
        "penalty": [StrOptions({"l2", "l1", "elasticnet"})],
        "eps": [Interval(Real, 0, 1, closed="neither"), None],
        "n_alphas": [Interval(Integral, 1, None, closed="left")],
        "cv": ["cv_object"],
        "scoring": [StrOptions(set(get_scorer_names())), callable, None],
        "rule": [StrOptions({"best", "one_se"})],
        "n_jobs": [None, Integral],
        **{
            name: _OF_MODEL[name]
            for name in (
                "loss", "epsilon", "quantile", "fit_intercept", "positive", "batch_size", "standardize", "precondition",
                "max_iter", "tol", "random_state", "verbose",
            )
        },
    }  # fmt: skip

    def __init__(
        self,
        alphas: ArrayLike | None = None,
        *,
        l1_ratio: float | ArrayLike = 0.15,
        penalty: Literal["l2", "l1", "elasticnet"] = "l2",
        loss: Literal["squared_error", "huber", "quantile"] | Loss = "squared_error",
        epsilon: float = 1.35,
        quantile: float = 0.5,
        fit_intercept: bool = True,
        positive: bool = False,
        eps: float | None = None,
        n_alphas: int = 100,
        cv: int | BaseCrossValidator | Iterable[Any] | None = None,
        scoring: str | Callable[..., float] | None = None,
        rule: Literal["best", "one_se"] = "best",
        batch_size: int | Literal["auto"] | None = "auto",
        standardize: bool = True,
        precondition: bool | Literal["auto"] = "auto",
        max_iter: int = 1000,
        tol: float | None = 1e-4,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.alphas = alphas
        self.l1_ratio = l1_ratio
        self.penalty = penalty
        self.loss = loss
        self.epsilon = epsilon
        self.quantile = quantile
        self.fit_intercept = fit_intercept
        self.positive = positive
        self.eps = eps
        self.n_alphas = n_alphas
        self.cv = cv
        self.scoring = scoring
        self.rule = rule
        self.batch_size = batch_size
        self.standardize = standardize
        self.precondition = precondition
        self.max_iter = max_iter
        self.tol = tol
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Rows, y: ArrayLike, sample_weight: ArrayLike | None = None, **params: Any) -> Self:
        """Choose the strength of the penalty, and fit the model of all rows with it.

        Parameters
        ----------
        X : {array-like, sparse matrix or array} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Target values.
        sample_weight : array-like of shape (n_samples,) or float, default=None
            Weight of each row, in the fits and in the scores; a row of weight 0 equals an absent row of its split.
        **params : dict
            What the splitter and the scorer take besides, such as ``groups``, with metadata routing on.

        Returns
        -------
        self : GDLinearRegressorCV
            The fitted model.

        Raises
        ------
        ValueError
            If parameters or data are unfit for use.  The model is then as it was before.

        Warns
        -----
        ConvergenceWarning
            If ``max_iter`` epochs were not enough for ``tol`` in some of the descents, or if some stopped although more
            is known to be left to gain.
        """
        validate_parameter_constraints(
            self._parameter_constraints, self.get_params(deep=False), caller_name=type(self).__name__
        )
        attributes = vars(self).copy()
        try:
            with np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"):
                n_unfinished = self._fit(X, y, sample_weight, params)
        except BaseException:
            self._restore(attributes)
            raise
        if n_unfinished:
            warnings.warn(
                f"{n_unfinished} of the descents did not come within tol={self.tol:g}: they made "
                f"max_iter={self.max_iter} epochs, or stopped since the objective hardly fell any more. Raise max_iter "
                "or tol, leave out the weakest penalties, or use the defaults of standardize and precondition.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

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
        return checked_predictions(self, X, n_jobs=None)

    def get_metadata_routing(self) -> MetadataRouter:
        """Return how metadata is routed: ``groups`` and the like to the splitter, weights to the scorer.

        Returns
        -------
        routing : MetadataRouter
            For ``sklearn.utils.metadata_routing``.
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        splitter = self.cv if hasattr(self.cv, "split") else check_cv()
        router.add(splitter=splitter, method_mapping=MethodMapping().add(caller="fit", callee="split"))
        if self.scoring not in KNOWN_SCORES:
            scorer = check_scoring(GDLinearRegressor(), scoring=self.scoring)
            router.add(scorer=scorer, method_mapping=MethodMapping().add(caller="fit", callee="score"))
        return router

    def _fit(self, X, y, sample_weight, params):
        """Set the fitted attributes; return how many descents did not come within ``tol``."""
        model, given = self._model(), X
        if has_other_arrays(*params.values()):
            from ._array.checks import in_numpy

            params = {name: in_numpy(value) for name, value in params.items()}
        X, Y, sample_weight, flat = self._validate(X, y, sample_weight, reset=True)
        to_splitter, to_scorer, scoring = self._routed(sample_weight, params)
        statistics = StreamStatistics.empty(X.shape[1], Y.shape[1], True)
        rows = self._add_rows(statistics, X, Y, sample_weight)
        grid = self._grid(rows, statistics, model._loss())
        targets = Y[:][:, 0] if flat else Y[:]
        splits = check_cv(self.cv).split(getattr(X, "array", X), targets, **to_splitter)
        folds = Folds.of(splits, X.shape[0], sample_weight)
        problem = Problem(model, rows, sample_weight, flat, grid, scoring, to_scorer)
        scores, squares, (place, choice), chosen, n_unfinished = search(
            problem, folds, self.rule, self._each, self.verbose
        )
        self._store(grid, scores, squares, place, choice)
        self.coef_ = chosen.coef[0] if flat else chosen.coef
        self.intercept_ = chosen.intercept[0] if flat else chosen.intercept
        self.n_iter_ = chosen.n_iter
        vars(self).pop("coef_path_", None)
        if chosen.coefs is not None:
            self.coef_path_ = np.moveaxis(chosen.coefs[:, 0] if flat else chosen.coefs, 0, -1)
        if has_other_arrays(given):
            from ._array.parameters import in_namespace

            vars(self).update(in_namespace(X.namespace, vars(self)))
        return n_unfinished

    def _restore(self, attributes):
        """Set the attributes to those before a failed call."""
        vars(self).clear()
        vars(self).update(attributes)

    def _model(self):
        """Return the regressor whose strength is to be chosen, its parameters checked."""
        names = signature(GDLinearRegressor).parameters.keys() & signature(type(self)).parameters.keys()
        params = {name: getattr(self, name) for name in names - {"l1_ratio", "n_jobs", "verbose"}}
        if not isinstance(self.random_state, Integral):  # the same in all threads
            params["random_state"] = int(make_generator(self.random_state).integers(2**31))
        model = GDLinearRegressor(**params)
        model._check_parameters()
        return model

    def _each(self, function, items):
        """Return the results of a function for each item, perhaps from several threads."""
        if self.n_jobs in (None, 1):
            return map(function, items)
        return Parallel(n_jobs=self.n_jobs, prefer="threads")(delayed(function)(item) for item in items)

    def _routed(self, sample_weight, params):
        """Return the parameters of the splitter, those of the scorer, and the scorer itself."""
        scoring = self.scoring
        if scoring not in KNOWN_SCORES:
            scoring = check_scoring(GDLinearRegressor(), scoring=scoring)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        if get_config().get("enable_metadata_routing"):
            routed = process_routing(self, "fit", **params, **weights)
            to_scorer = {} if scoring in KNOWN_SCORES else routed.scorer.score
            return routed.splitter.split, to_scorer, scoring
        if params:
            raise ValueError(
                f"fit got {', '.join(sorted(params))}, which are metadata: turn routing on with "
                "sklearn.set_config(enable_metadata_routing=True), or pass cv=list(splitter.split(X, y, groups))."
            )
        return {}, weights if scoring not in KNOWN_SCORES and accepts_weights(scoring) else {}, scoring

    def _grid(self, rows, statistics, loss):
        """Return the strengths to compare."""
        shares = {"l2": [0.0], "l1": [1.0]}.get(self.penalty, self.l1_ratio)
        l1_ratios = _numbers(np.atleast_1d(shares), "l1_ratio", 1.0)
        if self.alphas is not None:
            alphas = np.unique(_numbers(self.alphas, "alphas"))[::-1]
            return Grid(l1_ratios, np.tile(alphas, (len(l1_ratios), 1)))
        alphas = []
        for share in l1_ratios:
            strongest = strongest_alpha(rows, statistics, loss, share, self.fit_intercept, self.positive)
            eps = (EPS_L1 if share else EPS_L2) if self.eps is None else self.eps
            alphas.append(alpha_grid(strongest, eps, self.n_alphas))
        return Grid(l1_ratios, np.array(alphas))

    def _store(self, grid, scores, squares, place, choice):
        """Set what is known of the choice."""
        single, per_share = len(grid.l1_ratios) == 1, self.alphas is None
        self.alphas_ = grid.alphas if per_share and not single else grid.alphas[0]
        self.mse_path_ = squares[0] if single else squares
        self.alpha_, self.l1_ratio_ = float(grid.alphas[place, choice]), float(grid.l1_ratios[place])
        self.best_index_ = place * grid.alphas.shape[1] + choice
        flat = scores.reshape(-1, scores.shape[2])
        mean = flat.mean(axis=1)
        self.best_score_ = float(mean[self.best_index_])
        alphas, shares = grid.alphas.ravel(), np.repeat(grid.l1_ratios, grid.alphas.shape[1])
        self.cv_results_ = {
            "param_alpha": alphas,
            "param_l1_ratio": shares,
            **{f"split{split}_test_score": flat[:, split] for split in range(flat.shape[1])},
            "mean_test_score": mean,
            "std_test_score": flat.std(axis=1),
            "rank_test_score": np.searchsorted(np.sort(-mean), -mean).astype(np.int32) + 1,
        }


def _numbers(values, name, most=np.inf):
    """Return a list of numbers from 0 to ``most``, checked."""
    try:
        values = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must be a list of numbers: {error}.") from error
    if values.ndim != 1 or not values.size:
        cure = " For a path of so many strengths pass n_alphas." if name == "alphas" else ""
        raise ValueError(f"{name} must be a list of at least one number: got an array of shape {values.shape}.{cure}")
    unfit = values[~(np.isfinite(values) & (values >= 0.0) & (values <= most))]
    if unfit.size:
        allowed = "finite and >= 0" if most == np.inf else f"from 0 to {most:g}"
        raise ValueError(f"{name} must be {allowed}, got {unfit[0]:g}.")
    return values
