"""Names of classes in code font become links to their pages, at their first mention in a section."""

import sklearn.linear_model
from docutils import nodes
from sphinx import addnodes

import sk_gdlinear

OURS = {name: f"sk_gdlinear.{name}" for name in sk_gdlinear.__all__ if name[0].isupper()}
OURS["DaskGDLinearRegressor"] = "sk_gdlinear.dask.DaskGDLinearRegressor"
OURS |= {name: f"sk_gdlinear.penalties.{name}" for name in ("Box",)}
ELSEWHERE = {
    "Pipeline": "sklearn.pipeline.Pipeline",
    "StandardScaler": "sklearn.preprocessing.StandardScaler",
    "MinMaxScaler": "sklearn.preprocessing.MinMaxScaler",
    "OneHotEncoder": "sklearn.preprocessing.OneHotEncoder",
    "PolynomialFeatures": "sklearn.preprocessing.PolynomialFeatures",
    "SplineTransformer": "sklearn.preprocessing.SplineTransformer",
    "SimpleImputer": "sklearn.impute.SimpleImputer",
    "GridSearchCV": "sklearn.model_selection.GridSearchCV",
    "HashingVectorizer": "sklearn.feature_extraction.text.HashingVectorizer",
    "CountVectorizer": "sklearn.feature_extraction.text.CountVectorizer",
    "ProgressBar": "sklearn.callback.ProgressBar",
    "ScoringMonitor": "sklearn.callback.ScoringMonitor",
    "ConvergenceWarning": "sklearn.exceptions.ConvergenceWarning",
}
LINEAR_MODELS = {name: f"sklearn.linear_model.{name}" for name in sklearn.linear_model.__all__ if name[0].isupper()}
NAMES = ELSEWHERE | LINEAR_MODELS | OURS
NOT_LINKED = (nodes.reference, nodes.title, nodes.term, addnodes.pending_xref, addnodes.desc_signature)


def is_within(node, classes):
    """Whether the node or one that contains it is of these classes."""
    while node is not None:
        if isinstance(node, classes):
            return True
        node = node.parent
    return False


def section_of(node):
    """Return the innermost section that contains the node."""
    while node.parent is not None and not isinstance(node, nodes.section):
        node = node.parent
    return node


def link_names(app, document):
    """Replace literals by references to what they name."""
    page = app.env.docname.rsplit("/", 1)[-1]
    linked = set()
    for literal in [*document.findall(nodes.literal)]:
        target = NAMES.get(literal.astext())
        key = (id(section_of(literal)), target)
        if target is None or target == page or key in linked or is_within(literal, NOT_LINKED):
            continue
        linked.add(key)
        reference = addnodes.pending_xref(
            "", refdomain="py", reftype="obj", reftarget=target, refexplicit=True, refdoc=app.env.docname
        )
        literal.replace_self(reference)
        reference += literal


def setup(app):
    """Register the hook."""
    app.connect("doctree-read", link_names)
    return {"parallel_read_safe": True}
