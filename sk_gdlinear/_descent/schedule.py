"""Schedules: factors of the step at every update."""

import inspect
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Schedule(Protocol):
    """The protocol of an object passed as ``schedule``: a function of update numbers.

    ``t`` is an array of integers, 1 for the first update of a model, and the factors returned multiply the step sizes
    of these updates: one for each, or one number for all, finite and at least 0.  If it has a parameter
    ``n_updates``, ``fit`` passes the number of the last update that it can make, ``max_iter`` epochs from the first;
    ``partial_fit`` and fits on a cluster pass None, since the end is not known.
    """

    def __call__(self, t):
        """Return the factor of each update."""


@dataclass(frozen=True)
class Constant:
    """The factor 1 at every update; if ``adaptive``, the loop divides the step whenever training would stop."""

    adaptive: bool = False

    def __call__(self, t):
        """Return 1."""
        return 1.0


@dataclass(frozen=True)
class InverseScaling:
    """The factor ``t ** -power_t``."""

    power_t: float
    adaptive = False

    def __call__(self, t):
        """Return the factor of each update."""
        return 1.0 / np.asarray(t, dtype=np.float64) ** self.power_t


SCHEDULES = ("constant", "invscaling", "adaptive")


def make_schedule(schedule, power_t, n_updates):
    """Return the schedule of a name, or a given one, which gets ``n_updates`` if it has that parameter."""
    if schedule == "invscaling":
        return InverseScaling(power_t)
    if schedule in ("constant", "adaptive"):
        return Constant(adaptive=schedule == "adaptive")
    if isinstance(schedule, type):
        raise TypeError(f"schedule must be a name or a callable object: {schedule!r} is a class, call it.")
    return _Checked(schedule, n_updates)


class _Checked:
    """A user-defined schedule, whose factors are checked."""

    adaptive = False

    def __init__(self, schedule, n_updates):
        self.schedule = schedule
        self.arguments = {"n_updates": n_updates} if _asks_for_n_updates(schedule) else {}

    def __call__(self, t):
        """Return the factor of each update; of one update if ``t`` is a number.

        Raises
        ------
        ValueError
            If they are not finite numbers of at least 0, one for each update or one for all.
        """
        updates = np.atleast_1d(t)
        try:
            factor = np.asarray(self.schedule(updates.copy(), **self.arguments), dtype=np.float64)
        except (TypeError, ValueError) as error:
            told = "".join(f", {name}={value!r}" for name, value in self.arguments.items())
            raise ValueError(
                f"schedule must map update numbers to factors of the step: {self.schedule!r} failed with {error!r}. It "
                f"is called with an array t of update numbers (1, 2, ...){told} and returns an array of that shape."
            ) from error
        if factor.shape not in ((), updates.shape):
            raise ValueError(
                f"schedule must return one factor for each update: got shape {factor.shape} from {self.schedule!r} for "
                f"update numbers t of shape {updates.shape}."
            )
        if not (np.isfinite(factor).all() and (factor >= 0.0).all()):
            raise ValueError(
                f"schedule must return finite factors of at least 0, got {factor.min():g} to {factor.max():g} from "
                f"{self.schedule!r} at updates {updates.min()} to {updates.max()}."
            )
        return np.broadcast_to(factor, updates.shape) if np.ndim(t) else float(factor.reshape(-1)[0])


def _asks_for_n_updates(schedule):
    """Whether a function has a parameter ``n_updates`` that the user has not set with ``functools.partial``."""
    try:
        parameters = inspect.signature(schedule).parameters
    except (TypeError, ValueError):  # a compiled function may have no signature
        return False
    return "n_updates" in parameters and "n_updates" not in getattr(schedule, "keywords", {})
