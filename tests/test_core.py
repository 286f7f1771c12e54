"""The numerical core in small: what a change of one line of it must not leave unnoticed (`python tests/mutate.py`)."""

from measureflow.schedule import Constant


def test_a_constant_is_itself() -> None:
    assert Constant(2.0)(5) == 2.0
