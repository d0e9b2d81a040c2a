"""Fixtures shared by all tests.

``SK_GDLINEAR_TEST_SEEDS`` sweeps the seed of every randomised test, for instance ``0-9`` or ``3,14``; the default is 0.
"""

import os
import pickle

import numpy as np
import pytest
import sklearn

pytest.register_assert_rewrite("other_arrays")  # so that a failed comparison of two models shows its values


def _seeds():
    text = os.environ.get("SK_GDLINEAR_TEST_SEEDS", "0")
    if "-" in text:
        first, last = text.split("-")
        return range(int(first), int(last) + 1)
    return [int(part) for part in text.split(",")]


@pytest.fixture(params=_seeds(), ids=lambda seed: f"seed{seed}")
def seed(request):
    """Seed of a randomised test: use it for the data and for ``random_state``."""
    return request.param


@pytest.fixture
def rng(seed):
    """A generator private to the test."""
    return np.random.default_rng(seed)


@pytest.fixture
def state_of():
    """Function of an estimator: everything it holds, fitted or not, private or not, as comparable bytes."""
    return lambda estimator: pickle.dumps(vars(estimator))


@pytest.fixture
def dispatch():
    """Have scikit-learn accept arrays of other libraries."""
    with sklearn.config_context(array_api_dispatch=True):
        yield


@pytest.fixture
def library(request):
    """The library, device and dtype of a kind of ``other_arrays.KINDS``, with ``indirect=True``."""
    from other_arrays import Library

    return Library(request.param)
