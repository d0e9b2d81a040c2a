"""``fit``, ``partial_fit`` and ``predict`` with arrays of other libraries."""

from dataclasses import replace

import numpy as np

from .._compat import has_callbacks
from .._fit.place import NumPyPlace, Place
from .._fit.stream import remembers
from .checks import check_same_namespace, check_X, follow, in_numpy, namespace_of
from .method import device_batch_size, make_device_judge, make_device_method
from .parameters import in_namespace, to_numpy_parameters
from .rows import DeviceArray


class DevicePlace(Place):
    """Rows on the device of a namespace."""

    make_method = staticmethod(make_device_method)
    make_judge = staticmethod(make_device_judge)

    def __init__(self, namespace):
        self.namespace = namespace

    def hyperparameters(self, model, d, k, t, n_rows):
        """Return the parameters of a descent; an automatic batch is larger where the device is not a CPU."""
        larger, size = model.batch_size == "auto" and not self.namespace.is_cpu, device_batch_size(n_rows)
        batch_rows = min(size, n_rows) if larger else model._batch_rows(n_rows)
        hyper = model._hyperparameters(d, k, n_updates=t + model.max_iter * -(-n_rows // batch_rows))
        return replace(hyper, batch_size=size) if larger else hyper

    def attributes(self, attributes):
        """Return fitted attributes with their arrays in the namespace."""
        return in_namespace(self.namespace, attributes)


def fit(model, X, y, sample_weight, validation, coef_init, intercept_init):
    """Fit; return a warning, or None.  Arguments are those of ``GDLinearRegressor._fit``."""
    namespace = namespace_of(X)
    if model.warm_start and hasattr(model, "coef_"):
        check_same_namespace(model, X, "fit")
    to_numpy_parameters(model)
    coef_init, intercept_init = in_numpy(coef_init), in_numpy(intercept_init)
    if namespace is None:  # all else follows X
        y, sample_weight, *validation = map(in_numpy, (y, sample_weight, *validation))
        place = NumPyPlace()
    else:
        validation = *follow(X, *validation[:2]), validation[2]
        place = DevicePlace(namespace)
    return model._fit_rows(X, y, sample_weight, tuple(validation), coef_init, intercept_init, place)


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
