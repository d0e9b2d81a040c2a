"""From validated rows and parameters to a ``Training``, for ``fit`` and for each call of ``partial_fit``."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial

import numpy as np

from ._conditioning import Conditioning, Moments, curvature
from ._iterate import Iterate
from ._objective import Penalty
from ._rows import Data
from ._training import Training

# A generation of a stream's statistics is as long as all before it, within these numbers of rows.
SHORTEST_GENERATION = 1 << 12
LONGEST_GENERATION = 1 << 20

# Growth of a column's scale from one chunk to the next beyond which its coefficient shrinks with it: what was learnt on
# a small range says nothing of one so much larger, where it would be an outlier's lever or a change of units.
LARGEST_GROWTH = 10.0

# Measured (benchmarks/accuracy.py): the fewest epochs to the least-squares answer, at a speed near that of larger
# batches.
AUTO_BATCH_SIZE = 32


@dataclass
class Settings:
    """The estimator's parameters that shape a descent.

    ``loss`` is one of ``LOSSES``, a function of the width alone; ``alpha``, a number or one per feature, is 0 for no
    penalty.  A ``batch_size`` of None is a full batch, a ``step`` of None the automatic one.
    """

    loss: Callable
    has_kink: bool
    alpha: float | np.ndarray
    l1_ratio: float
    positive: bool
    batch_size: int | None
    step: float | None
    schedule: str
    power_t: float
    precondition: bool
    average: bool
    fit_intercept: bool
    shuffle: bool


@dataclass
class Knowledge:
    """What is known of the data: moments of features (None if unused) and targets, rows and weights seen.

    In a stream the moments are those of the newest two generations of rows, each as long as all before it, so that an
    outlier or an old unit of measurement is forgotten when about as many rows again, or twice as many, have passed.
    """

    features: Moments | None
    targets: Moments
    past_features: Moments | None
    past_targets: Moments
    n_young: int = 0  # rows in the newer generation
    n_rows: int = 0
    weight_sum: float = 0.0

    @classmethod
    def empty(cls, d, k, settings):
        """Of no rows yet."""
        features = [Moments.empty(d) if settings.precondition else None for _ in range(2)]
        return cls(features[0], Moments.empty(k), features[1], Moments.empty(k))

    def add(self, X, Y, sample_weight):
        """Take in rows and return them as ``Data``, their weights over the mean weight of all rows seen."""
        if self.n_young >= min(max(self.n_rows // 2, SHORTEST_GENERATION), LONGEST_GENERATION):
            self.past_features, self.past_targets, self.n_young = self.features, self.targets, 0
            self.features = None if self.features is None else Moments.empty(X.shape[1])
            self.targets = Moments.empty(Y.shape[1])
        index = None if sample_weight is None or sample_weight.all() else np.flatnonzero(sample_weight)
        data = Data(X, Y, sample_weight, index)
        for order in data.segments():
            if self.features is not None:
                self.features.add(X, order, _like(sample_weight, X))
            self.targets.add(Y, order, _like(sample_weight, X))
        self.n_young += data.n_rows
        self.n_rows += data.n_rows
        if sample_weight is None:
            self.weight_sum += data.n_rows
        else:
            self.weight_sum += float(sample_weight.sum())
        mean_weight = self.weight_sum / self.n_rows
        if sample_weight is None and mean_weight == 1.0:
            return data
        s = np.ones(X.shape[0]) if sample_weight is None else sample_weight
        return data._replace(weight=_like(s / mean_weight, X))

    @property
    def recent_features(self):
        """Moments of the features over both generations."""
        return self.features.merged(self.past_features)

    @property
    def recent_targets(self):
        """Moments of the targets over both generations."""
        return self.targets.merged(self.past_targets)

    def mean_intercept(self, coef, settings):
        """Return the intercept at which ``coef`` predicts the mean; 0 in plain mode, which starts from 0."""
        if settings.precondition and settings.fit_intercept:
            return self.recent_targets.mean - coef @ self.recent_features.mean
        return np.zeros(len(coef))


def conditioned_terms(settings, conditioning, smoothing):
    """Return the slope (k,) of the loss, and loss and penalty over it, of conditioned errors and weights.

    There ``coef = W * inv_scale / target_inv_scale``, and a target's objective is ``target_inv_scale**2 / slope`` times
    that in the user's units.
    """
    dtype = conditioning.shift.dtype
    scale, inv_unit = (a.astype(np.float64) for a in (conditioning.inv_scale, conditioning.target_inv_scale))
    slope, loss = settings.loss(smoothing)
    slope, loss = slope * np.ones_like(inv_unit), loss.scaled(inv_unit, dtype)
    if not np.any(settings.alpha) and not settings.positive:
        return slope, loss, Penalty(None, None, False)
    most = np.sqrt(float(np.finfo(dtype).max))  # so that no product with a step overflows; as good as infinite
    with np.errstate(over="ignore"):
        l1 = settings.alpha * settings.l1_ratio * scale * (inv_unit / slope)[:, None]
        l2 = settings.alpha * (1.0 - settings.l1_ratio) * scale * scale / slope[:, None]
    l1, l2 = (np.minimum(a, most).astype(dtype) for a in (l1, l2))
    return slope, loss, Penalty(l1, l2, settings.positive)


def _like(sample_weight, X):
    return None if sample_weight is None else np.ascontiguousarray(sample_weight, dtype=X.dtype)


@np.errstate(over="ignore", invalid="ignore")  # objectives and steps without a number are seen later
def make_descent(data, knowledge, settings, place, *, stream, before=None, smoothing=None):
    """Build the descent over ``data``.

    ``place`` is a function from the new ``Conditioning`` to the ``Iterate`` to go on from.  In a stream the rows are a
    sample, even where they make one batch, the conditioning was ``before``, and a kink of the loss smoothed over
    ``smoothing``, in units of y; otherwise they are all there is.
    """
    d, k = data.X.shape[1], data.Y.shape[1]
    batch_size = settings.batch_size or data.n_rows
    one_batch = batch_size >= data.n_rows and not stream
    conditioning = Conditioning.identity(d, k, data.X.dtype)
    targets = knowledge.recent_targets
    features = knowledge.recent_features if settings.precondition else None
    if features is not None:
        conditioning = Conditioning.of(features, targets, settings.batch_size, settings.fit_intercept, data.X.dtype)
        if before is not None:
            conditioning = conditioning.keeping(before)
    inv_unit = conditioning.target_inv_scale.astype(np.float64)
    rms = targets.spread(settings.fit_intercept)[0]
    spread = np.where(rms > 0.0, rms, 1.0)
    terms = partial(conditioned_terms, settings, conditioning)
    slope, loss, penalty = terms(spread if smoothing is None else smoothing)
    if smoothing is None:
        # About the mean, from where every quantile lies on the steep side of its loss.
        loss = loss._replace(offset=np.zeros_like(loss.offset))
    mean_objective, zero_objective = (
        float(loss.largest(size * inv_unit).sum()) for size in (rms, targets.spread(centre=False)[0])
    )
    null_b = (targets.mean - conditioning.target_shift) * inv_unit * settings.fit_intercept
    edges = None
    if settings.step is None:
        edges = curvature(data, conditioning, settings.fit_intercept, settings.shuffle)
    column_squares = None
    if features is not None and penalty.l1 is None and not stream:
        column_rms = features.spread(settings.fit_intercept)[0]
        column_squares = (column_rms * conditioning.inv_scale.astype(np.float64)) ** 2
    average = settings.average and not one_batch
    return Training(
        data=data,
        conditioning=conditioning,
        slope=slope,
        loss=loss,
        penalty=penalty,
        terms=terms if settings.has_kink else None,
        smoothing=spread if smoothing is None else smoothing,
        target_spread=spread,
        iterate=_fitting(place(conditioning), settings.fit_intercept, average),
        batch_size=min(batch_size, data.n_rows),
        fit_intercept=settings.fit_intercept,
        schedule=settings.schedule,
        power_t=settings.power_t,
        step=settings.step,
        curvature=edges,
        column_squares=column_squares,
        null_objective=mean_objective,
        zero_objective=zero_objective,
        null_b=null_b.astype(data.X.dtype),
        one_batch=one_batch,
        reducible=settings.average and settings.step is None and settings.batch_size is not None and not stream,
    )


def _fitting(iterate, fit_intercept, average):
    """Return the iterate without an intercept if none is wanted, and with an average just if one is."""
    if not fit_intercept:  # there may have been one before
        iterate.b[...] = 0.0
        if iterate.mean_b is not None:
            iterate.mean_b[...] = 0.0
    if not average:
        return Iterate.at(*iterate.centre, average=False, t=iterate.t)
    return Iterate.at(iterate.W, iterate.b, average=True, t=iterate.t) if iterate.mean_W is None else iterate


def start_at(coef, intercept, average, t=0):
    """Place a new iterate at coefficients in the user's units."""
    return lambda conditioning: Iterate.at(*conditioning.from_user(coef, intercept), average, t)


def carry_on(iterate, before):
    """Place a moving iterate, so far under the conditioning ``before``, under a new one."""

    def place(conditioning):
        keep = np.minimum(1.0, LARGEST_GROWTH / conditioning.growth(before))

        def move(W, b):
            coef, intercept = before.to_user(W, b)
            # Where a coefficient shrinks, the prediction at the old centre stays.
            return conditioning.from_user(coef * keep, intercept + (coef * (1.0 - keep)) @ before.shift)

        means = (None, None) if iterate.mean_W is None else move(iterate.mean_W, iterate.mean_b)
        return Iterate(
            *move(iterate.W, iterate.b), *means, iterate.t, iterate.n_averaged, iterate.advantage, iterate.mean_step
        )

    return place


def pack(descent, knowledge, generator, reported):
    """Return what the next ``partial_fit`` needs, as dictionaries and arrays: pickles then name no class of ours.

    ``reported`` are the coefficients and the intercept handed to the user, by which to see whether he changed them.
    """
    return {
        "reported": reported,
        "smoothing": descent.smoothing,
        "iterate": _fields(descent.iterate),
        "conditioning": descent.conditioning._asdict(),
        "knowledge": {
            name: _fields(value) if isinstance(value, Moments) else value for name, value in _fields(knowledge).items()
        },
        "generator": generator,
    }


def unpack(state, settings):
    """Return the iterate, its conditioning, and a copy of the knowledge that ``pack`` put away."""
    iterate, conditioning = Iterate(**state["iterate"]), Conditioning(**state["conditioning"])
    known = {
        name: Moments(**value).copy() if isinstance(value, dict) else value
        for name, value in state["knowledge"].items()
    }
    for name in ("features", "past_features"):
        if settings.precondition and known[name] is None:
            known[name] = Moments.empty(iterate.W.shape[1])
    return iterate, conditioning, Knowledge(**known)


def _fields(record):
    return {f.name: getattr(record, f.name) for f in fields(record)}
