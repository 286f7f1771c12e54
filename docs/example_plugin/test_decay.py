"""Does it keep its promises?"""

from measureflow_decay import Decay

from measureflow.testing import check


def test_decay() -> None:
    check(Decay(rate=3.0)).raise_if_broken()
