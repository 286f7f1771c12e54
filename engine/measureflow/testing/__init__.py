"""The conformance kit: what every component promises, tried on small random systems in float64.

`check(component)` tries every promise of the component's family and returns a `Report`, which prints as a table; a plugin's own
tests say `check(component).raise_if_broken()`. A promise is a function in the module of its family, one sentence each.
"""

from measureflow.testing.check import check
from measureflow.testing.problems.systems import Alone, Quadratic, dense, measure, normals, quadratic, stepped
from measureflow.testing.report import Report, Row
from measureflow.testing.trial import Trial

__all__ = ["Alone", "Quadratic", "Report", "Row", "Trial", "check", "dense", "measure", "normals", "quadratic", "stepped"]
