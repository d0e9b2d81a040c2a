"""A call of ``partial_fit`` with a dense array, without repeating the checks of the call before.

The checks of parameters and data, and the copies from which a failed call is undone, take ten times as long as the
update of the memory by a few rows.  So a call with an array, and the parameters of the call before, checks only what
may have changed, and changes the model at its end, where nothing can fail any more.  Its numbers come from the same
functions as in other calls, so that the bits are the same.
"""

from math import isfinite
from operator import itemgetter
from weakref import WeakKeyDictionary

import numpy as np

from .state import pack_memory
from .stream import LONGEST_CURVE, Memory, attributes_of, step_to_minimum

# Types of parameters that cannot be changed in place; random states are compared by identity.
UNCHANGEABLE = (str, int, float, bool, type(None), np.random.RandomState)

# Numbers of X beside which the checks cost little.
MOST_NUMBERS = 1 << 16

# Weights between which no product with a scaled number leaves the range of float64.
LEAST_WEIGHT = 1e-30
LARGEST_WEIGHT = 1e30

# The parameters of each model with which it remembered a chunk: their values, and as ``Hyperparameters``.
_known: WeakKeyDictionary = WeakKeyDictionary()


def remember_parameters(model, hyper):
    """Keep the parameters, which are valid and with which the stream has a memory, for ``learn_quickly``."""
    values, hashable = _values(model), type(model).__hash__ is object.__hash__
    if hashable and not model.verbose and all(isinstance(value, UNCHANGEABLE) for value in values):
        _known[model] = values, hyper


def learn_quickly(model, X, y, sample_weight):
    """Learn from a chunk if nothing needs more than these checks; return whether it was learnt."""
    if not (type(X) is np.ndarray and type(y) is np.ndarray and X.ndim == 2 and 0 < X.size <= MOST_NUMBERS):
        return False
    known, attributes = _known.get(model), vars(model)
    if known is None or known[0] != _values(model):
        return False
    state = attributes.get("_state")
    if state is None or "iterate" in state or "feature_names_in_" in attributes or attributes.get("_skl_callbacks"):
        return False
    (coef, intercept), flat, n = state["reported"], y.ndim == 1, len(X)
    k, d = coef.shape
    if X.shape[1] != d or y.shape != ((n,) if flat else (n, k)) or not X.dtype == y.dtype == coef.dtype:
        return False
    if not (X.flags.c_contiguous and y.flags.c_contiguous) or attributes["validation_loss_curve_"] is not None:
        return False
    if not (_is_same(attributes["coef_"], coef, flat) and _is_same(attributes["intercept_"], intercept, flat)):
        return False
    window = model.window
    if (window is not None and n > window) or not (sample_weight is None or _is_plain(sample_weight, n)):
        return False
    Y, memory = y.reshape(n, k), Memory.unpacked(state["memory"])
    if memory.window != window:
        return False
    with np.errstate(all="ignore"):
        memory = memory.with_rows(X, Y, sample_weight)
        moments = memory.moments
        if memory.is_compared or not isfinite(moments.mean.sum()):
            return False
        coef, intercept, objective = step_to_minimum(moments, X, Y, sample_weight, known[1], coef)
    state = pack_memory(memory, state["generator"], coef, intercept, state["n_calls"] + 1)
    curve = attributes["loss_curve_"]
    attributes.update(attributes_of(coef, intercept, flat, attributes["t_"] + 1, model._batch_rows(n)), _state=state)
    curve.append(objective)
    if len(curve) > LONGEST_CURVE:
        del curve[0]
    return True


def _values(model):
    """Return the values of the parameters."""
    return itemgetter(*model._parameter_constraints)(vars(model))


def _is_same(now, reported, flat):
    """Whether an attribute, which may have been set by hand to anything, has the bits of what was reported."""
    if not isinstance(now, np.ndarray | np.generic):
        return False
    shape = reported.shape[1:] if flat else reported.shape
    return now.shape == shape and now.dtype == reported.dtype and now.tobytes() == reported.tobytes()


def _is_plain(weight, n):
    """Whether weights need no conversion and no check."""
    if type(weight) is not np.ndarray or weight.shape != (n,) or weight.dtype != np.float64:
        return False
    return LEAST_WEIGHT < weight.min() and weight.max() < LARGEST_WEIGHT
