"""``fit``, ``partial_fit`` and ``predict`` with arrays of other libraries."""

from dataclasses import replace

import numpy as np

from .._compat import has_callbacks
from .._data.checks import check_start, make_generator
from .._data.statistics import StreamStatistics
from .._fit.build import from_coef
from .._fit.certificate import certified
from .._fit.loop import fit_loop
from .._fit.stream import FitMemory, remembers
from .._fit.validation import ValidationSet
from .checks import check_same_namespace, check_X, follow, in_numpy, namespace_of
from .method import DEVICE_BATCH_SIZE, make_device_judge, make_device_method
from .parameters import in_namespace, to_numpy_parameters
from .passes import DEVICE
from .rows import DeviceArray


def fit(model, X, y, sample_weight, validation, coef_init, intercept_init):
    """Fit; return a warning, or None.  Arguments are those of ``GDLinearRegressor._fit``."""
    namespace, warm = namespace_of(X), model.warm_start and hasattr(model, "coef_")
    if warm:
        check_same_namespace(model, X, "fit")
    to_numpy_parameters(model)
    coef_init, intercept_init = in_numpy(coef_init), in_numpy(intercept_init)
    if namespace is None:  # all else follows X
        y, sample_weight, *validation = map(in_numpy, (y, sample_weight, *validation))
        return model._fit(X, y, sample_weight, tuple(validation), coef_init, intercept_init)
    given = (X, y, sample_weight)
    X, Y, sample_weight, flat = model._validate(X, y, sample_weight, reset=not warm)
    (n, d), k = X.shape, Y.shape[1]
    if warm:
        model._check_same_shape(flat, d, k)
    t, generator = model._carried() if warm else (0, make_generator(model.random_state))
    validation = *follow(X.array, *validation[:2]), validation[2]
    held_out, training_weight = model._hold_out(X, Y, sample_weight, flat, validation, warm, generator)
    n_kept = n if training_weight is None else np.count_nonzero(training_weight)
    hyper = _hyperparameters(model, namespace, d, k, t, n_kept)
    statistics = StreamStatistics.empty(d, k, hyper.standardize)
    rows = model._add_rows(statistics, X, Y, training_weight)
    model._check_own(hyper, statistics)
    coef, intercept = check_start(coef_init, intercept_init, d, k)
    if warm:
        fitted = model._fitted_parameters()
        coef = fitted[0] if coef_init is None else coef
        intercept = fitted[1] if intercept_init is None else intercept
    elif intercept_init is None:
        intercept = statistics.mean_intercept(coef, hyper.fit_intercept)
    start, is_warm = from_coef(coef, intercept, model.average, t), warm or coef_init is not None
    method = make_device_method(rows, statistics, hyper, start, model.max_iter, is_warm)
    if held_out is not None:
        held_out = ValidationSet(DEVICE, held_out, method.objective)
    past = model._past() if warm else ([], None)

    def attributes(result):
        return in_namespace(namespace, model._attributes(result, flat, past))

    monitors = model._monitors(attributes, given, "fit", len(past[0]), method.n_blocks)
    rng = generator if model.shuffle else None
    result = fit_loop(method, model.max_iter, model.tol, model.n_iter_no_change, rng, held_out, monitors)
    if result.stop_reason == "converged" and method.curvature is None:
        result = certified(result, rows, statistics, hyper, method.objective.width, make_device_judge)
    fitted = model._attributes(result, flat, past)
    memory = FitMemory.of(method, hyper, np.atleast_2d(fitted["coef_"]))
    model._store(fitted, method, statistics, generator, (), memory)
    vars(model).update(in_namespace(namespace, fitted))
    for monitor in monitors:
        monitor.end(model.stop_reason_, method.notes)
    return model._warning(result)


def _hyperparameters(model, namespace, d, k, t, n_rows):
    """Return the parameters of the descent; an automatic batch is larger where the device is not a CPU."""
    larger = model.batch_size == "auto" and not namespace.is_cpu
    batch_rows = min(DEVICE_BATCH_SIZE, n_rows) if larger else model._batch_rows(n_rows)
    hyper = model._hyperparameters(d, k, n_updates=t + model.max_iter * -(-n_rows // batch_rows))
    return replace(hyper, batch_size=DEVICE_BATCH_SIZE) if larger else hyper


def partial_fit(model, X, y, sample_weight):
    """Learn from a chunk; only its second moments are copied to NumPy if they suffice.  Return a warning, or None."""
    namespace, first = namespace_of(X), not hasattr(model, "coef_")
    if not first:
        check_same_namespace(model, X, "partial_fit")
    to_numpy_parameters(model)
    if namespace is None:  # all else follows X
        return model._partial_fit(X, in_numpy(y), in_numpy(sample_weight))
    X, Y, sample_weight, flat = model._validate(X, y, sample_weight, reset=first)
    given = X, Y
    if not _needs_moments_alone(model, X.shape[1], Y.shape[1]):
        X, Y = np.ascontiguousarray(X[:]), np.ascontiguousarray(Y[:])
        given = X, Y[:, 0] if flat else Y
    elif sample_weight is not None and sample_weight.any() and not sample_weight.all():
        kept = np.flatnonzero(sample_weight)
        X, Y = (DeviceArray(a.take(kept), namespace) for a in (X, Y))
        sample_weight = sample_weight[kept]
    warning = model._learn(X, Y, sample_weight, flat, given)
    vars(model).update(in_namespace(namespace, {"coef_": model.coef_, "intercept_": model.intercept_}))
    return warning


def _needs_moments_alone(model, d, k):
    """Whether the second moments of a chunk suffice; callbacks need its rows in NumPy."""
    continues = not hasattr(model, "coef_") or hasattr(model, "_state")
    return continues and remembers(model._hyperparameters(d, k), d, k) and not has_callbacks(model)


def predict(model, X):
    """Return the predictions, in the namespace, the dtype and on the device of X."""
    check_same_namespace(model, X, "predict")
    namespace = namespace_of(X)
    X = check_X(model, namespace, X, reset=False)
    xp, dtype = namespace.xp, X.dtype
    coef, intercept = (xp.astype(namespace.moved(a), namespace.real) for a in (model.coef_, model.intercept_))
    if dtype == namespace.real:
        return X @ coef.T + intercept if coef.ndim == 2 else X @ coef + intercept
    # As in NumPy: sums in float32 would hold few true digits where offsets are large.
    parts, size = [], namespace.block_rows(X.shape[1])
    for start in range(0, X.shape[0], size):
        block = xp.astype(X[start : min(start + size, X.shape[0]), ...], namespace.real)
        parts.append(xp.astype((block @ coef.T if coef.ndim == 2 else block @ coef) + intercept, dtype))
    return xp.concat(parts, axis=0)
