"""Parameters of losses and penalties, which scikit-learn's searches read and set."""

from __future__ import annotations

import inspect
from typing import Any, Self


class Parameters:
    """Constructor arguments as parameters, such as ``loss__epsilon`` in a search, without a class of scikit-learn."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments of the constructor.

        Parameters
        ----------
        deep : bool, default=True
            Whether to return the parameters of objects among them as well, as ``name__parameter``.

        Returns
        -------
        params : dict
            The parameters by name.
        """
        params = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
        if deep:
            nested = {name: value.get_params() for name, value in params.items() if hasattr(value, "get_params")}
            params |= {f"{name}__{key}": value for name, inner in nested.items() for key, value in inner.items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters.

        Parameters
        ----------
        **params : dict
            Parameters by name, those of objects among them as ``name__parameter``.

        Returns
        -------
        self : object
            This object.
        """
        valid = self.get_params(deep=False)
        for name, value in params.items():
            own, _, inner = name.partition("__")
            if own not in valid:
                raise ValueError(f"Invalid parameter {own!r} for {self!r}. Valid parameters are: {list(valid)}.")
            if inner:
                getattr(self, own).set_params(**{inner: value})
            else:
                setattr(self, own, value)
        return self

    def __repr__(self) -> str:
        """Show the constructor call."""
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.get_params(deep=False).items())
        return f"{type(self).__name__}({arguments})"
