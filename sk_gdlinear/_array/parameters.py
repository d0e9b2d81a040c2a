"""The fitted parameters of a model, in NumPy or in the namespace of the rows."""

from copy import deepcopy

import numpy as np

from .._fit.state import reported_parameters
from .checks import in_numpy

# Fitted attributes that are arrays, with ``intercept_``, which is a number for a single target.
ARRAYS = ("coef_", "coef_path_", "alphas_", "mse_path_")


def in_namespace(namespace, attributes):
    """Return fitted attributes whose arrays are those of a namespace.

    The dtype of all but ``coef_`` is float64 also for float32 data, as with NumPy, where the device has that.
    """
    arrays = {name: attributes[name] for name in (*ARRAYS, "intercept_") if name in attributes}
    return attributes | {name: namespace.asarray(a, namespace.own_dtype(a.dtype)) for name, a in arrays.items()}


def to_numpy_parameters(model):
    """Set ``coef_`` and ``intercept_`` of a model, if it is fitted, to the same in NumPy.

    A device without float64 rounds what the model has reported: to that the digits come back, for it was not changed.
    """
    if not hasattr(model, "coef_"):
        return
    reported = reported_parameters(model) if "_state" in vars(model) else (None, None)
    for name, exact in zip(("coef_", "intercept_"), reported, strict=True):
        values = np.asarray(in_numpy(getattr(model, name)))
        if exact is not None and values.dtype == np.float32 and values.size == exact.size:
            exact = exact.reshape(values.shape)
            values = exact if np.array_equal(exact.astype(np.float32), values) else values
        setattr(model, name, values[()])


def converted(model, new, convert):
    """Set the attributes of a fitted model in a new one, its arrays converted, and return it.

    What ``partial_fit`` continues from stays in NumPy, wherever the data are.
    """
    vars(new).update(vars(model))
    if "_state" in vars(model):  # the generator of row orders is not shared
        new._state = deepcopy(model._state)
    vars(new).update({name: convert(getattr(model, name)) for name in ARRAYS if hasattr(model, name)})
    if hasattr(model, "intercept_"):
        intercept = model.intercept_
        intercept = convert(np.asarray(intercept) if isinstance(intercept, np.generic) else intercept)
        new.intercept_ = intercept[()] if isinstance(intercept, np.ndarray) else intercept
    return new
