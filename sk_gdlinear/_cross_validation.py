"""The splits of ``GDLinearRegressorCV``: fits along the strengths of the penalty, scores on what is held out."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np

from ._compat import is_other_array
from ._data.folds import HELD_OUT, TRAINED, FoldMoments
from ._data.order import as_slice, cut_in_order
from ._data.standardize import Standardization
from ._descent.backend import choose_backend
from ._descent.rent_or_buy import MOST_COLUMNS
from ._fit.path import TrainedModel, elastic_net, squared_errors
from ._objective.losses import SquaredError
from ._objective.objective import problem_of_loss
from .estimator import GDLinearRegressor

# Scores that need no predictions where the loss is the squared error.
KNOWN_SCORES = (None, "neg_mean_squared_error", "r2")

# Numbers of X in the rows predicted at once.
BLOCK_NUMBERS = 1 << 17


class Grid(NamedTuple):
    """The strengths to compare, the strongest first, for each share of absolute values."""

    l1_ratios: np.ndarray  # (r,)
    alphas: np.ndarray  # (r, a)


class Scores(NamedTuple):
    """What is found on the held-out rows."""

    scores: np.ndarray  # (r, a), the higher the better
    squares: np.ndarray  # (r, a), mean squared errors
    n_unfinished: int = 0  # descents that did not come within tol


class Chosen(NamedTuple):
    """The model of all rows."""

    coef: np.ndarray  # (k, d)
    intercept: np.ndarray  # (k,)
    n_iter: int
    coefs: np.ndarray | None  # (a, k, d), the path
    n_unfinished: int = 0  # as in ``Scores``, along that path


class Problem(NamedTuple):
    """The data of a search, its grid, and the regressor whose parameters it tunes."""

    model: GDLinearRegressor
    rows: Any  # Rows
    sample_weight: np.ndarray | None
    flat: bool  # whether y is 1-D
    grid: Grid
    scoring: Any  # one of KNOWN_SCORES, or a scorer
    score_params: dict[str, Any]

    @property
    def n_features(self):
        """Number of features."""
        return self.rows.X.shape[1]

    def y(self, order):
        """Return the targets of some rows, 1-D if they were given so."""
        return self.rows.Y[order][:, 0] if self.flat else self.rows.Y[order]

    def own_score(self, split, held_out, coef, intercept):
        """Return the score that a scorer gives a model, on a copy of the held-out rows."""
        coef = (coef[0] if self.flat else coef).astype(self.rows.X.dtype)
        model = regressor_of(coef, intercept[0] if self.flat else intercept, **self.model.get_params(deep=False))
        params = {
            name: _of_rows(value, held_out.order, self.rows.X.shape[0]) for name, value in self.score_params.items()
        }
        score = self.scoring(model, held_out.X, held_out.y, **params)
        if np.ndim(score) or np.asarray(score).dtype.kind not in "biuf":
            raise ValueError(
                f"scoring must return a number, got {score!r} for split {split}. For several scores use GridSearchCV."
            )
        return float(score)


class HeldOut(NamedTuple):
    """A copy of the held-out rows, for a scorer."""

    order: np.ndarray
    X: Any
    y: np.ndarray


def _of_rows(value, order, n):
    """Return what belongs to some rows of a scorer's parameter, the whole of it if it has not one entry for each."""
    return np.asarray(value)[order] if np.ndim(value) and len(value) == n else value


def regressor_of(coef, intercept, **params):
    """Return a regressor with these coefficients."""
    model = GDLinearRegressor(**params)
    model.coef_, model.intercept_, model.n_features_in_ = coef, intercept, coef.shape[-1]
    return model


class MomentSearch:
    """The search by joint moments: one pass over the rows for all splits and strengths."""

    def __init__(self, problem, folds, each):
        self.problem, self.folds, self.each = problem, folds, each
        of = choose_backend(problem.rows.X).joint_moments
        self.moments = FoldMoments(problem.rows, folds, each, of)

    @staticmethod
    def is_possible(model, d, k):
        """Whether the moments determine the fit, and are small enough."""
        squared = model.loss == "squared_error" or type(model.loss) is SquaredError
        return squared and model.standardize and bool(model.precondition) and d + k <= MOST_COLUMNS

    def scores(self):
        """Return the ``Scores`` of every split."""
        return self.each(self._split, ((split, *moments) for split, moments in enumerate(self.moments.splits())))

    def _split(self, item):
        """Return the scores of one split."""
        split, train, held_out = item
        problem, d = self.problem, self.problem.n_features
        trained, rows = TrainedModel(train, d, problem.model.fit_intercept), None
        found = []
        for alphas, l1_ratio in zip(problem.grid.alphas, problem.grid.l1_ratios, strict=True):
            path = trained.path(alphas, l1_ratio, problem.model.positive)
            relative, squares = (
                errors.mean(axis=1) for errors in squared_errors(path, train, held_out, d, problem.model.fit_intercept)
            )
            if problem.scoring == "r2":
                _check_r2(held_out.n_rows, split)
                score = 1.0 - relative
            elif problem.scoring in KNOWN_SCORES:
                score = -squares
            else:
                rows = rows or _held_out(problem, self.folds.rows(split, HELD_OUT))
                pairs = zip(path.coef, path.intercept, strict=True)
                score = np.array([problem.own_score(split, rows, *pair) for pair in pairs])
            found.append((score, squares))
        return Scores(*(np.array(a) for a in zip(*found, strict=True)))

    def chosen(self, place, choice):
        """Return the model of all rows for a strength, and the path to it."""
        problem = self.problem
        trained = TrainedModel(self.moments.total(), problem.n_features, problem.model.fit_intercept)
        alphas, l1_ratio, is_positive = (
            problem.grid.alphas[place],
            problem.grid.l1_ratios[place],
            problem.model.positive,
        )
        coefs = trained.path(alphas, l1_ratio, is_positive).coef
        coef, _ = trained.refined(problem.rows, coefs[choice], elastic_net(alphas[choice], l1_ratio, is_positive))
        coefs[choice] = coef
        coef = coef.astype(problem.rows.X.dtype)
        return Chosen(coef, trained.intercept(coef), 1, coefs)


def _check_r2(n_rows, split):
    if n_rows < 2:
        raise ValueError(
            f"scoring='r2' needs at least 2 held-out rows, split {split} of cv has {n_rows}. Use fewer splits, or "
            "scoring='neg_mean_squared_error'."
        )


def _held_out(problem, order):
    """Return a copy of held-out rows, for a scorer."""
    return HeldOut(order, problem.rows.X[as_slice(order)], problem.y(order))


class Descent(GDLinearRegressor):
    """A fit of the search.  It does not warn: one warning for all of them comes at the end."""

    is_unfinished = False  # whether it did not come within tol

    def _fit(self, *args):
        """Fit; note whether there was something to warn of, and return None."""
        self.is_unfinished = super()._fit(*args) is not None and self.tol is not None


class DescentSearch:
    """The search by fits of ``GDLinearRegressor``, each from the answer for the strength before it."""

    def __init__(self, problem, folds, each):
        self.problem, self.folds, self.each = problem, folds, each

    def scores(self):
        """Return the ``Scores`` of every split."""
        return self.each(self._split, range(self.folds.n_splits))

    def _split(self, split):
        """Return the scores of one split."""
        problem, found, n_unfinished = self.problem, [], 0
        order = self.folds.rows(split, HELD_OUT)
        held_out = None if problem.scoring in KNOWN_SCORES else _held_out(problem, order)
        for place in range(len(problem.grid.l1_ratios)):
            for model in self._descents(place, self.folds.rows(split, TRAINED)):
                n_unfinished += model.is_unfinished
                coef, intercept = np.atleast_2d(model.coef_).astype(np.float64), np.atleast_1d(model.intercept_)
                losses, squares, relative = self._errors(model, order, coef, intercept)
                if problem.scoring == "r2":
                    _check_r2(len(order), split)
                    score = 1.0 - relative.mean()
                elif held_out is None:
                    score = -(losses if problem.scoring is None else squares).mean()
                else:
                    score = problem.own_score(split, held_out, coef, intercept)
                found.append((score, squares.mean()))
        scores, squares = np.array(found).T.reshape(2, *problem.grid.alphas.shape)
        return Scores(scores, squares, n_unfinished)

    def _descents(self, place, trained=None, until=None):
        """Yield the fitted model for one strength after another, on all rows or on those of a split."""
        problem, grid, start = self.problem, self.problem.grid, {}
        weight = problem.sample_weight
        if trained is not None:  # rows of weight 0 count as absent: nothing of X is copied
            weight = np.zeros(problem.rows.X.shape[0])
            weight[trained] = 1.0 if problem.sample_weight is None else problem.sample_weight[trained]
        y = problem.y(slice(None))
        for alpha in grid.alphas[place][:until]:
            model = Descent(**problem.model.get_params(deep=False))
            model.set_params(alpha=alpha, l1_ratio=grid.l1_ratios[place], penalty="elasticnet")
            model.fit(getattr(problem.rows.X, "array", problem.rows.X), y, weight, **start)
            if is_other_array(model.coef_):
                from ._array.parameters import to_numpy_parameters

                to_numpy_parameters(model)
            start = {"coef_init": model.coef_, "intercept_init": model.intercept_}
            yield model

    def _errors(self, model, order, coef, intercept):
        """Return mean losses, squared errors, and these in units of the targets' variance, on some rows; (k,) each."""
        rows, loss = self.problem.rows, model._loss()
        Y, E = rows.Y[order].astype(np.float64), _errors(rows, order, coef, intercept)
        weight = np.ones(len(order)) if rows.weight is None else rows.weight[order].astype(np.float64)
        squares, variance = (weight @ A**2 / weight.sum() for A in (E, Y - weight @ Y / weight.sum()))
        losses = squares if type(loss) is SquaredError else weight @ loss.value(E) / weight.sum()
        relative = np.where(np.ptp(Y, axis=0) > 0.0, squares / np.where(variance > 0.0, variance, 1.0), squares > 0.0)
        return losses, squares, relative

    def chosen(self, place, choice):
        """Return the model of all rows for a strength, and the path to it where that is small."""
        is_small, fitted, n_unfinished = self.problem.n_features <= MOST_COLUMNS, [], 0
        for model in self._descents(place, until=None if is_small else choice + 1):
            fitted = [*fitted, model] if is_small else [model]
            n_unfinished += model.is_unfinished
        model = fitted[choice if is_small else -1]
        coefs = np.array([np.atleast_2d(other.coef_) for other in fitted], dtype=np.float64) if is_small else None
        coef, intercept = np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_)
        return Chosen(coef, intercept, model.n_iter_, coefs, n_unfinished)


def _errors(rows, order, coef, intercept):
    """Return the errors of parameters on some rows, in NumPy."""
    (k, d), X = coef.shape, rows.X
    if hasattr(X, "backend"):  # on a device
        problem = problem_of_loss(rows, SquaredError(), Standardization.identity(d, k, np.float64))
        return X.backend.errors(problem, order, coef, intercept)
    parts = cut_in_order(order, max(1, BLOCK_NUMBERS // d))
    return np.concatenate([X[part] @ coef.T + intercept - rows.Y[part] for part in parts])


def choose(scores, rule):
    """Return the places of the share and of the strength that are chosen, for scores of shape (r, a, n_splits)."""
    mean = scores.mean(axis=2)
    if np.isnan(mean).any():
        raise ValueError(
            "scoring returned NaN for a split, so no strength is the best. Use another score, or splits with more rows."
        )
    place, choice = np.unravel_index(int(mean.argmax()), mean.shape)
    if rule == "one_se":
        n_splits = scores.shape[2]
        if n_splits < 2:
            raise ValueError("rule='one_se' needs at least 2 splits of cv, got 1. Use more splits, or rule='best'.")
        error = scores[place, choice].std(ddof=1) / np.sqrt(n_splits)
        choice = int((mean[place] >= mean[place, choice] - error).argmax())  # the strongest comes first
    return int(place), int(choice)


def search(problem, folds, rule, each, verbose=0):
    """Return the scores of all splits (r, a, n_splits), their squared errors, the choice, and the ``Chosen``."""
    began = time.perf_counter()
    kind = MomentSearch if MomentSearch.is_possible(problem.model, *_shape(problem)) else DescentSearch
    searching, found = kind(problem, folds, each), []
    for split, scores in enumerate(searching.scores(), start=1):
        found.append(scores)
        if verbose:
            seconds = time.perf_counter() - began
            print(
                f"split {split} of {folds.n_splits}: {scores.scores.size} fits, {seconds:.3f} seconds since the start"
            )
    scores = np.stack([part.scores for part in found], axis=-1)
    squares = np.stack([part.squares for part in found], axis=-1)
    place, choice = choose(scores, rule)
    chosen = searching.chosen(place, choice)
    return scores, squares, (place, choice), chosen, sum(part.n_unfinished for part in found) + chosen.n_unfinished


def _shape(problem):
    return problem.n_features, problem.rows.Y.shape[1]
