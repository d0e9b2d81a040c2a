"""Export to ONNX with skl2onnx: run ``pip install 'sk_gdlinear[onnx]'``, and call ``register`` once."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .estimator import GDLinearRegressor


def register(*estimators: type[Any]) -> None:
    """Have skl2onnx convert ``GDLinearRegressor``, alone and inside pipelines and other meta-estimators.

    The converted model computes ``X @ coef_.T + intercept_`` in double precision and returns, as ``predict`` does,
    float32 for float32 and float64 for all else: float32 input with large offsets loses no more digits there than
    here.  Its output has shape (n_samples, n_targets), with one column for a 1-D ``y``, as skl2onnx has it.

    Parameters
    ----------
    *estimators : type
        Further classes to convert, such as ``DaskGDLinearRegressor`` or a subclass of your own: skl2onnx looks up the
        class of a model itself.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.

    See Also
    --------
    skl2onnx.to_onnx : Convert a fitted model or pipeline.

    Notes
    -----
    Calling ``register`` again changes nothing.  Converted models take dense input only.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_gdlinear import GDLinearRegressor, onnx
    >>> from skl2onnx import to_onnx  # doctest: +SKIP
    >>> onnx.register()  # doctest: +SKIP
    >>> X, y = np.array([[0.0], [1.0], [2.0]]), np.array([1.0, 3.0, 5.0])
    >>> model = GDLinearRegressor(random_state=0).fit(X, y)
    >>> with open("model.onnx", "wb") as file:  # doctest: +SKIP
    ...     file.write(to_onnx(model, X[:1]).SerializeToString())
    """
    try:
        from skl2onnx import update_registered_converter
    except ImportError as error:
        raise ImportError("Export to ONNX needs skl2onnx: pip install 'sk_gdlinear[onnx]'.") from error
    classes: list[type[Any]] = [GDLinearRegressor, *estimators]
    for estimator in classes:
        update_registered_converter(estimator, f"SkGdlinear{estimator.__name__}", _infer_shapes, _convert)


def _infer_shapes(operator):
    """Set the type and shape of the output: one column per target."""
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    given = operator.inputs[0]
    output = FloatTensorType if isinstance(given.type, FloatTensorType) else DoubleTensorType
    check_is_fitted(operator.raw_operator)
    n_targets = np.atleast_2d(operator.raw_operator.coef_).shape[0]
    operator.outputs[0].type = output([given.get_first_dimension(), n_targets])


def _convert(scope, operator, container):
    """Write the nodes ``Cast -> MatMul -> Add -> Cast``."""
    from skl2onnx.common.data_types import guess_proto_type
    from skl2onnx.proto import onnx_proto

    double = onnx_proto.TensorProto.DOUBLE
    model = operator.raw_operator
    coef = np.atleast_2d(model.coef_).astype(np.float64)
    intercept = np.broadcast_to(np.float64(model.intercept_), len(coef))
    names = {part: scope.get_unique_variable_name(part) for part in ("coef", "intercept", "wide", "product", "sum")}
    container.add_initializer(names["coef"], double, coef.T.shape, coef.T.ravel().tolist())
    container.add_initializer(names["intercept"], double, intercept.shape, intercept.tolist())
    nodes = [
        ("Cast", [operator.inputs[0].full_name], names["wide"], {"to": double}),
        ("MatMul", [names["wide"], names["coef"]], names["product"], {}),
        ("Add", [names["product"], names["intercept"]], names["sum"], {}),
        ("Cast", [names["sum"]], operator.outputs[0].full_name, {"to": guess_proto_type(operator.outputs[0].type)}),
    ]
    for kind, inputs, output, attributes in nodes:
        container.add_node(kind, inputs, output, name=scope.get_unique_operator_name(kind), **attributes)
