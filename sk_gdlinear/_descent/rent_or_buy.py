r"""When the curvature is worth its price: rent or buy.

Mini-batch epochs are rent, paid again for every epoch; the second moments of all rows are bought once, and after them
an epoch or two are enough.  How many epochs a descent still needs is not known.  So rent is paid until it adds up to
the price, and then the curvature is bought: whatever the data, that costs at most twice the better of the two ways (the
rule of the ski-rental problem: A. Karlin, M. Manasse, L. Rudolph and D. Sleator, "Competitive Snoopy Caching",
Algorithmica 3, 1988).

Costs are in nanoseconds of one core of the machine on which they were measured; only their ratios matter.
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse import issparse

# Columns up to which a matrix of second moments is made: at most 134 MB.
MOST_COLUMNS = 4096

# An epoch with its objective: once, per row, per number of X, and per entry of sparse X; with a penalty on the latter
# also per column and batch.
EPOCH_ONCE = 3e5
EPOCH_ROW = 13.0
EPOCH_NUMBER = 0.9
EPOCH_ENTRY = 6.0
EPOCH_COLUMN = 4.0

# Second moments: once, per row, per number of X, per product of two numbers, and per product of two sparse entries;
# and the solution of the model, per cube of the columns, by eigenvectors and by Cholesky's method.
MOMENTS_ONCE = 1e5
MOMENTS_ROW = 10.0
MOMENTS_NUMBER = 0.8
MOMENTS_PRODUCT = 0.02
MOMENTS_ENTRIES = 4.0
SOLUTION = 0.15
CHOLESKY = 0.02

# Factors by Cholesky's method that a minimum over a working set takes after the first: for its new columns, since signs
# of coefficients change on the way, and for each column in excess of the rows, along a flat direction.  Up to a few
# columns their excess does not count.
FACTORS = 10.0
EXCESS_FACTORS = 2.0
CHEAP_COLUMNS = 200

# A Newton step of a model with kinks, beside its factor, and the factors where its matrix is nearly singular; an
# interior-point step, beside its factor, and the number of those that a minimum takes.
SUPPORT_STEP_ONCE = 2.5e4
FLAT_FACTORS = 4.0
INTERIOR_STEP_ONCE = 2e5
INTERIOR_STEPS = 15.0

# Price of the passes with a working set, in epochs of mini-batches.
WORKING_SET_EPOCHS = 1.0

# Epochs of mini-batches before conjugate or accelerated gradients, without the cost of a penalty.
EPOCHS_BEFORE_GRADIENTS = 1.0

# Cost of an epoch, relative to that of the curvature, beyond which no mini-batch epoch is made at all.
OUT_OF_PROPORTION = 8.0


def has_cheap_entries(X):
    """Whether the inner products of sparse rows cost less than those of arrays."""
    return _entry_products(X) < _array_products(*X.shape)


def _entry_products(X):
    """Return the cost of the inner products of sparse rows: that of pairs of entries in the same column."""
    return MOMENTS_ENTRIES * float(np.square(np.bincount(X.indices), dtype=np.float64).sum())


def _array_products(n_rows, n_columns):
    """Return the cost of the inner products of rows as arrays."""
    return n_rows * n_columns * (MOMENTS_NUMBER + MOMENTS_PRODUCT * n_rows)


def columns_cost(n_rows, n_targets, n_known, n_added):
    """Return the cost of the second moments of columns that are added to a working set, and of the minimum over all."""
    n_columns = n_known + n_added
    excess = max(n_columns - max(n_rows, CHEAP_COLUMNS), 0)
    n_factors = n_targets * (1.0 + FACTORS * n_added / max(n_columns, 1) + EXCESS_FACTORS * excess)
    return MOMENTS_PRODUCT * n_rows * (n_columns**2 - n_known**2) + n_factors * CHOLESKY * n_columns**3


def sample_cost(n_sampled, n_columns):
    """Return the cost of the second moments of a sample of the rows, and of a factor of them."""
    return n_sampled * n_columns * (MOMENTS_NUMBER + MOMENTS_PRODUCT * n_columns) + CHOLESKY * n_columns**3


def support_step_cost(n_free, is_flat):
    """Return the cost of a Newton step of a model with kinks, over the variables that are neither 0 nor at a bound."""
    return SUPPORT_STEP_ONCE + (FLAT_FACTORS if is_flat else 1.0) * CHOLESKY * n_free**3


def interior_cost(n_columns):
    """Return the cost of the minimum of a model with kinks by interior-point steps."""
    return INTERIOR_STEPS * (INTERIOR_STEP_ONCE + CHOLESKY * n_columns**3)


class Costs(NamedTuple):
    """The cost of an epoch of mini-batches, and that of the curvature."""

    epoch: float
    curvature: float

    @classmethod
    def of(cls, rows, n_targets, is_quadratic):
        """Return the costs for these rows; other losses than the squared error have a curvature for each target."""
        n, d = rows.n_rows, rows.X.shape[1]
        purchases = 1 if is_quadratic else n_targets
        if issparse(rows.X):
            entries = rows.X.nnz
            epoch, products = EPOCH_ENTRY * entries, MOMENTS_ENTRIES * entries * (entries / max(rows.X.shape[0], 1))
        else:
            epoch, products = EPOCH_NUMBER * n * d, n * d * (MOMENTS_NUMBER + MOMENTS_PRODUCT * d)
        return cls(
            EPOCH_ONCE + n_targets * (EPOCH_ROW * n + epoch),
            MOMENTS_ONCE + purchases * (MOMENTS_ROW * n + products + SOLUTION * d**3),
        )

    def with_penalty(self, rows, n_targets, n_batches):
        """Return the costs with a penalty, for which each batch of sparse rows passes over all columns."""
        passes = EPOCH_COLUMN * n_batches * n_targets * rows.X.shape[1] if issparse(rows.X) else 0.0
        return self._replace(epoch=self.epoch + passes)

    def with_working_set(self):
        """Return the costs where the curvature is that of passes with a working set of columns."""
        return self._replace(curvature=WORKING_SET_EPOCHS * self.epoch)

    def of_gradients(self):
        """Return the costs where steps from gradients alone need no matrix: they begin after some epochs."""
        return self._replace(curvature=EPOCHS_BEFORE_GRADIENTS * self.epoch)

    def in_row_space(self, rows):
        """Return the costs where the curvature is that of the inner products of rows, not columns."""
        n, d = rows.n_rows, rows.X.shape[1]
        products = _array_products(n, d)
        if issparse(rows.X):
            products = min(products, _entry_products(rows.X))
        return self._replace(curvature=MOMENTS_ONCE + products + CHOLESKY * n**3)

    def has_paid(self, n_epochs):
        """Whether the rent of so many epochs adds up to the price of the curvature."""
        return self.covers(n_epochs, self.curvature)

    @property
    def are_out_of_proportion(self):
        """Whether an epoch costs so much more than the curvature that none is worth its price."""
        return self.epoch > OUT_OF_PROPORTION * self.curvature

    def covers(self, n_epochs, price):
        """Whether the rent of so many epochs adds up to a price."""
        return n_epochs * self.epoch >= price
