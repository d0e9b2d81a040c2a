"""The fitted parameters of a model, in NumPy or in the namespace of the rows."""

from copy import deepcopy

import numpy as np

from .checks import in_numpy


def in_namespace(namespace, attributes):
    """Return fitted attributes with ``coef_`` and ``intercept_`` as arrays of a namespace.

    The dtype of the intercept is float64 also for float32 data, as with NumPy, where the device has that.
    """
    coef, intercept = attributes["coef_"], attributes["intercept_"]
    return attributes | {
        "coef_": namespace.asarray(coef, namespace.own_dtype(coef.dtype)),
        "intercept_": namespace.asarray(intercept),
    }


def to_numpy_parameters(model):
    """Set ``coef_`` and ``intercept_`` of a model, if it is fitted, to the same in NumPy."""
    if hasattr(model, "coef_"):
        model.coef_, model.intercept_ = in_numpy(model.coef_), np.asarray(in_numpy(model.intercept_))[()]


def converted(model, new, convert):
    """Set the attributes of a fitted model in a new one, ``coef_`` and ``intercept_`` converted, and return it.

    What ``partial_fit`` continues from stays in NumPy, wherever the data are.
    """
    vars(new).update(vars(model))
    if "_state" in vars(model):  # the generator of row orders is not shared
        new._state = deepcopy(model._state)
    if hasattr(model, "coef_"):
        intercept = model.intercept_
        intercept = convert(np.asarray(intercept) if isinstance(intercept, np.generic) else intercept)
        new.intercept_ = intercept[()] if isinstance(intercept, np.ndarray) else intercept
        new.coef_ = convert(model.coef_)
    return new
