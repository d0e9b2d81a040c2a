"""From validated rows and parameters to a ``Descent``, for ``fit`` and for each call of ``partial_fit``."""

from dataclasses import dataclass, fields

import numpy as np

from ._conditioning import Conditioning, Moments, curvature
from ._descent import Descent, Iterate
from ._rows import Data

# Measured (benchmarks/accuracy.py): the fewest epochs to the least-squares answer, at a speed near that of larger
# batches.
AUTO_BATCH_SIZE = 32


@dataclass
class Settings:
    """The estimator's parameters that shape a descent.

    A ``batch_size`` of None is a full batch, a ``step`` of None the automatic one.
    """

    batch_size: int | None
    step: float | None
    schedule: str
    power_t: float
    precondition: bool
    average: bool
    fit_intercept: bool


@dataclass
class Knowledge:
    """What is known of the data so far: moments of features (None if unused) and targets, rows and weights seen."""

    features: Moments | None
    targets: Moments
    n_rows: int = 0
    weight_sum: float = 0.0

    @classmethod
    def empty(cls, d, k, settings):
        """Of no rows yet."""
        return cls(Moments.empty(d) if settings.precondition else None, Moments.empty(k))

    def add(self, X, Y, sample_weight):
        """Take in rows and return them as ``Data``, their weights over the mean weight of all rows seen."""
        index = None if sample_weight is None or sample_weight.all() else np.flatnonzero(sample_weight)
        data = Data(X, Y, sample_weight, index)
        for order in data.segments():
            if self.features is not None:
                self.features.add(X, order, _like(sample_weight, X))
            self.targets.add(Y, order, _like(sample_weight, X))
        self.n_rows += data.n_rows
        if sample_weight is None:
            self.weight_sum += data.n_rows
        else:
            self.weight_sum += float(sample_weight.sum())
        mean_weight = self.weight_sum / self.n_rows
        if sample_weight is None and mean_weight == 1.0:
            return data
        s = np.ones(len(X)) if sample_weight is None else sample_weight
        return data._replace(weight=_like(s / mean_weight, X))

    def mean_intercept(self, coef, settings):
        """Return the intercept at which ``coef`` predicts the mean; 0 in plain mode, which starts from 0."""
        if settings.precondition and settings.fit_intercept:
            return self.targets.mean - coef @ self.features.mean
        return np.zeros(len(coef))


def _like(sample_weight, X):
    return None if sample_weight is None else np.ascontiguousarray(sample_weight, dtype=X.dtype)


def make_descent(data, knowledge, settings, place, *, stream):
    """Build the descent over ``data``.

    ``place`` is a function from the new ``Conditioning`` to the ``Iterate`` to go on from.  In a stream the rows are
    a sample, even where they make one batch; otherwise they are all there is.
    """
    d, k = data.X.shape[1], data.Y.shape[1]
    batch_size = settings.batch_size or data.n_rows
    one_batch = batch_size >= data.n_rows and not stream
    conditioning = Conditioning.identity(d, k, data.X.dtype)
    if settings.precondition:
        conditioning = Conditioning.of(
            knowledge.features, knowledge.targets, settings.batch_size, settings.fit_intercept, data.X.dtype
        )
    inv_unit = conditioning.target_inv_scale.astype(np.float64)
    mean_objective, zero_objective = (
        0.5 * float(((knowledge.targets.spread(centre)[0] * inv_unit) ** 2).sum())
        for centre in (settings.fit_intercept, False)
    )
    null_b = (knowledge.targets.mean - conditioning.target_shift) * inv_unit * settings.fit_intercept
    edges = None
    if settings.step is None:
        pieces = [
            curvature(data.X, rows, data.weight, conditioning, settings.fit_intercept) for rows in data.segments()
        ]
        edges = tuple(max(values) for values in zip(*pieces, strict=True))
    iterate = place(conditioning)
    if not settings.average or one_batch:
        iterate = Iterate.at(*iterate.answer, average=False, t=iterate.t)
    elif iterate.mean_W is None:
        iterate = Iterate.at(iterate.W, iterate.b, average=True, t=iterate.t)
    return Descent(
        data=data,
        conditioning=conditioning,
        iterate=iterate,
        batch_size=min(batch_size, data.n_rows),
        fit_intercept=settings.fit_intercept,
        schedule=settings.schedule,
        power_t=settings.power_t,
        step=settings.step,
        curvature=edges,
        null_objective=mean_objective,
        zero_objective=zero_objective,
        null_b=null_b.astype(data.X.dtype),
        one_batch=one_batch,
    )


def start_at(coef, intercept, average, t=0):
    """Place a new iterate at coefficients in the user's units."""
    return lambda conditioning: Iterate.at(*conditioning.from_user(coef, intercept), average, t)


def carry_on(iterate, before):
    """Place a moving iterate, so far under the conditioning ``before``, under a new one."""

    def place(conditioning):
        moved = [conditioning.from_user(*before.to_user(W, b)) for W, b in ((iterate.W, iterate.b), iterate.answer)]
        means = (None, None) if iterate.mean_W is None else moved[1]
        return Iterate(*moved[0], *means, iterate.t, iterate.n_averaged, iterate.level, iterate.mean_level)

    return place


def pack(descent, knowledge, generator):
    """Return what the next ``partial_fit`` needs, as dictionaries and arrays: pickles then name no class of ours."""
    return {
        "iterate": _fields(descent.iterate),
        "conditioning": descent.conditioning._asdict(),
        "features": None if knowledge.features is None else _fields(knowledge.features),
        "targets": _fields(knowledge.targets),
        "n_rows": knowledge.n_rows,
        "weight_sum": knowledge.weight_sum,
        "generator": generator,
    }


def unpack(state, settings):
    """Return the iterate, its conditioning, and a copy of the knowledge that ``pack`` put away."""
    iterate, conditioning = Iterate(**state["iterate"]), Conditioning(**state["conditioning"])
    features, targets = state["features"], Moments(**state["targets"]).copy()
    if settings.precondition:
        features = Moments.empty(iterate.W.shape[1]) if features is None else Moments(**features).copy()
    return iterate, conditioning, Knowledge(features, targets, state["n_rows"], state["weight_sum"])


def _fields(record):
    return {f.name: getattr(record, f.name) for f in fields(record)}
