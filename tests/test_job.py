"""What tells one job from another: the same text for the same values in any process, another one for others."""

import dataclasses
import functools
import math
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from sk_gdlinear._checkpoint.job import describe, differences, parameters_of


class Loss:
    def __init__(self, delta, weights=None):
        self.delta, self.weights = delta, weights

    def value(self, error):
        return error


class SlottedLoss:
    __slots__ = ("delta",)

    def __init__(self, delta):
        self.delta = delta


@dataclasses.dataclass
class Schedule:
    step: float
    decay: object = None


class Bare:
    pass


def halve(step):
    return step / 2


class Ring:
    def __init__(self):
        self.me = self


@pytest.mark.parametrize(
    "make",
    [
        lambda: Loss(1.35, np.arange(3.0)),
        lambda: Loss(1.35, {"b": 1, "a": [None, (2, "x")]}),
        lambda: SlottedLoss(2.0),
        lambda: Schedule(0.1, Loss(2)),
        lambda: Schedule(0.1, functools.partial(halve, step=3)),
        lambda: Loss(1).value,
        lambda: Bare(),
        lambda: (Ring(), [Ring()]),
        lambda: {"a", "b", "c"},
        lambda: np.random.RandomState(),
        lambda: (math.nan, -0.0, 10**5000, np.float32(0.1), b"x"),
        lambda: (Fraction(1, 3), PurePosixPath("a/b"), len, Loss, np.ndarray, functools.reduce),
        lambda: np.arange(10_000),
    ],
)  # fmt: skip
def test_the_same_values_are_described_alike(make):
    assert describe(make()) == describe(make())
    assert " at 0x" not in describe(make())
    assert len(describe(make())) < 600


@pytest.mark.parametrize(
    ("value", "other"),
    [
        (1, 1.0),
        (1, True),
        (1, "1"),
        (0.0, -0.0),
        (None, "None"),
        ((1, 2), [1, 2]),
        (np.array([1.0]), np.array([1])),
        (np.array([1.0]), np.array([[1.0]])),
        (np.zeros(10_000), np.r_[np.zeros(9_999), 1e-300]),
        (Loss(1.0), Loss(2.0)),
        (Loss(1.0), Loss(1.0, np.ones(2))),
        (SlottedLoss(1.0), SlottedLoss(2.0)),
        (Loss(1.0), SlottedLoss(1.0)),
        (Schedule(1.0, halve), Schedule(1.0, len)),
        (functools.partial(halve, 1), functools.partial(halve, 2)),
        (Loss(1).value, Loss(2).value),
        (Fraction(1, 3), Fraction(2, 3)),
        (np.random.RandomState(0), 0),
    ],
)
def test_other_values_are_described_otherwise(value, other):
    assert describe(value) != describe(other)


@pytest.mark.parametrize(
    ("value", "other"), [(0.5, np.float64(0.5)), (3, np.int32(3)), (True, np.bool_(True)), ("l2", np.str_("l2"))]
)
def test_scalars_of_numpy_are_the_numbers_they_hold(value, other):
    assert describe(value) == describe(other)


def test_the_layout_of_an_array_does_not_matter():
    array = np.arange(6.0).reshape(2, 3)
    assert (
        describe(array)
        == describe(np.asfortranarray(array))
        == describe(array.astype(">f8")[::1]).replace(">f8", "float64")
    )


def test_the_description_is_the_same_in_another_process():
    script = "from test_job import *; print(describe((Loss(1.5, {'a', 'b', 'c'}), Bare(), halve, Loss(1).value)))"
    runs = {
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parent, timeout=200,
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(runs) == 1


def test_differences_name_what_changed():
    assert differences({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"}) == ["b=2, now 3", "c=not known, now 4"]


def test_parameters_without_effect_are_left_out():
    from sk_gdlinear import GDLinearRegressor

    described = parameters_of(GDLinearRegressor(alpha=2.0))
    assert described["alpha"] == "2.0" and "verbose" not in described
