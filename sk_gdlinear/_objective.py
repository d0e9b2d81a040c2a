r"""The derivation: objective, error and gradients as pure functions of arrays.

Shapes follow ``torch.nn.Linear``: ``X (n, d)``, ``W (k, d)``, ``b (k,)``, ``Y (n, k)``.  One target is ``k = 1``.

.. math::

    \hat Y &= X W^\top + b                                  &&\text{forward} \\
    E &= \hat Y - Y                                         &&\text{error} \\
    L &= \tfrac{1}{n} \textstyle\sum \tfrac12 E^2           &&\text{half mean squared error, summed over targets} \\
    G &= \partial L / \partial \hat Y = E / n               &&\text{n = rows of this batch} \\
    \nabla W &= G^\top X \qquad \nabla b = \textstyle\sum_{\text{rows}} G \\
    W &\leftarrow W - \eta \nabla W \qquad b \leftarrow b - \eta \nabla b

Why ``1/n``: the sum of ``n`` rows' gradients grows with the batch, and with it every step; the mean does not.  The
last, short batch divides by its own number of rows.

With sample weights ``s`` the objective is ``sum(s * E**2 / 2) / sum(s)`` and a batch of ``m`` rows uses ``G = s * E /
(m * mean(s))``, ``mean(s)`` taken over all rows, not over the batch: dividing by the batch's own sum would cancel the
weights.  The functions here take ``weight = s / mean(s)``, or None for equal weights.

``torch.nn.MSELoss`` and river's ``Squared`` are twice this loss.
"""


def forward(X, W, b):
    """Prediction ``X W^T + b``, shape (n, k)."""
    return X @ W.T + b


def error(prediction, Y):
    """Error ``prediction - Y``, shape (n, k)."""
    return prediction - Y


def loss(E, weight=None):
    """Half squared error averaged over the rows, one value per target, shape (k,).

    The objective is the sum of these values.  Accumulated in float64.
    """
    half_square = 0.5 * E.astype("float64", copy=False) ** 2
    if weight is not None:
        half_square *= weight[:, None]
    return half_square.sum(axis=0) / E.shape[0]


def output_gradient(E, weight=None):
    """Gradient of the objective with respect to the prediction, ``G = E / n``, shape (n, k)."""
    if weight is not None:
        E = E * weight[:, None]
    return E / E.shape[0]


def coef_gradient(G, X):
    """Gradient with respect to ``W``: ``G^T X``, shape (k, d)."""
    return G.T @ X


def intercept_gradient(G):
    """Gradient with respect to ``b``: the sum of the rows of ``G``, shape (k,)."""
    return G.sum(axis=0)
