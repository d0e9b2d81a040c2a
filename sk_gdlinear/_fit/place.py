"""Where the rows of a fit are, and what depends on that."""

from typing import Protocol

from .build import make_judge, make_method


class Place(Protocol):
    """Where the rows of a fit are."""

    def make_method(self, rows, statistics, hyper, start, max_iter, is_warm):
        """Return the descent, see ``build``."""

    def make_judge(self, rows, statistics, hyper, start, width):
        """Return the descent that computes what is left to gain, see ``build``."""

    def hyperparameters(self, model, d, k, t, n_rows):
        """Return the parameters of a descent over ``n_rows`` rows that begins after update ``t``."""

    def attributes(self, attributes):
        """Return fitted attributes with their arrays where the rows are."""


class NumPyPlace(Place):
    """Rows in arrays of NumPy, or sparse."""

    make_method = staticmethod(make_method)
    make_judge = staticmethod(make_judge)

    def hyperparameters(self, model, d, k, t, n_rows):
        """Return the parameters of a descent over ``n_rows`` rows that begins after update ``t``."""
        n_batches = -(-n_rows // model._batch_rows(n_rows))
        return model._hyperparameters(d, k, n_updates=t + model.max_iter * n_batches)

    def attributes(self, attributes):
        """Return the attributes as they are."""
        return attributes
