"""Losses for the parameter ``loss``: the built-in ones as objects, and the protocol for own ones."""

from ._objective.losses import Huber, Loss, Quantile, SquaredError

__all__ = ["Huber", "Loss", "Quantile", "SquaredError"]
