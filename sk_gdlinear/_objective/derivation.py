r"""The derivation: prediction, error, loss and gradients as pure functions of arrays.

Shapes follow ``torch.nn.Linear``: ``X (n, d)``, ``W (k, d)``, ``b (k,)``, ``Y (n, k)``.  One target is ``k = 1``.

.. math::

    \hat Y &= X W^\top + b                                  &&\text{forward} \\
    E &= \hat Y - Y                                         &&\text{error} \\
    L &= \tfrac{1}{n} \textstyle\sum \tfrac12 E^2           &&\text{half mean squared error, summed over targets} \\
    G &= \partial L / \partial \hat Y = E / n               &&\text{n = rows of this batch} \\
    \nabla W &= G^\top X \qquad \nabla b = \textstyle\sum_{\text{rows}} G \\
    W &\leftarrow W - \eta \nabla W \qquad b \leftarrow b - \eta \nabla b

The factor ``1/n`` keeps the step independent of the batch: a sum of the gradients of ``n`` rows grows with ``n``, and
every step with it; their mean does not.  The last, short batch divides by its own number of rows.

With sample weights ``s`` the objective is ``sum(s * E**2 / 2) / sum(s)``, and a batch of ``m`` rows uses ``G = s * E /
(m * mean(s))``.  ``mean(s)`` is taken over all rows, not over the batch: dividing by the batch's own sum would cancel
the weights.  The functions here take ``weight = s / mean(s)``, or None for equal weights.

With another loss its derivative psi takes the place of ``E`` in ``G`` (see ``losses``).  With a penalty a proximal step
follows each update (see ``penalties``).  All other lines stay the same.

``torch.nn.MSELoss`` and river's ``Squared`` are twice this loss.
"""


def forward(X, W, b):
    """Prediction ``X W^T + b``, shape (n, k)."""
    prediction = X @ W.T
    prediction += b
    return prediction


def error(prediction, Y):
    """Error ``E = prediction - Y``, shape (n, k)."""
    return prediction - Y


def batch_loss(E, loss, weight=None):
    """Loss averaged over the rows, one value per target, shape (k,), accumulated in float64."""
    value = loss.value(E.astype("float64", copy=False))
    if weight is not None:
        value = value * weight[:, None]
    return value.sum(axis=0) / E.shape[0]


def loss_derivative(E, loss, weight=None):
    """Return the derivative ``s * psi(E)`` of each row's weighted loss by its prediction, shape (n, k)."""
    derivative = loss.derivative(E)
    return derivative if weight is None else derivative * weight[:, None]


def output_gradient(E, loss, weight=None):
    """Gradient of the mean loss by the predictions, ``G = s * psi(E) / n``, shape (n, k)."""
    return loss_derivative(E, loss, weight) / E.shape[0]


def coef_gradient(G, X):
    """Gradient by ``W``: ``G^T X``, shape (k, d)."""
    return G.T @ X


def intercept_gradient(G):
    """Gradient by ``b``: the sum of the rows of ``G``, shape (k,)."""
    return G.sum(axis=0)
