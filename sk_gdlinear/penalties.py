"""Penalties for the parameter ``penalty``: the built-in ones as objects, and the protocol for own ones."""

from ._objective.penalties import L1, L2, Box, ElasticNet, Penalty

__all__ = ["L1", "L2", "Box", "ElasticNet", "Penalty"]
