"""Where the rows of a fit are, and what depends on that."""

from .build import make_method


class InNumPy:
    """Rows in arrays of NumPy, or sparse."""

    make_method = staticmethod(make_method)
    make_judge = staticmethod(make_method)  # of the end of a fit, see ``certificate``

    def hyperparameters(self, model, d, k, t, n_rows):
        """Return the parameters of a descent over ``n_rows`` rows that begins after update ``t``."""
        n_batches = -(-n_rows // model._batch_rows(n_rows))
        return model._hyperparameters(d, k, n_updates=t + model.max_iter * n_batches)

    def attributes(self, attributes):
        """Return fitted attributes with their arrays where the rows are."""
        return attributes
