"""Errors for the person who made them: what was wrong, where, and what would have worked."""

import difflib
import re
from collections.abc import Iterable
from typing import Any

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # what may steer a terminal, or is no text


def printable(text: str) -> str:
    """A text of others as a terminal may show it, control characters written out."""
    return CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


class MeasureflowError(Exception):
    """Anything a user can mend; the command line prints it without a traceback and exits with code 2."""


class ConfigError(MeasureflowError):
    """All the problems of one config file, each a line `path: what was wrong; what would have worked`."""

    def __init__(self, where: str, problems: Iterable[str]):
        self.where = where
        self.problems = tuple(problems)
        super().__init__("\n".join([f"{where}: {len(self.problems)} problem(s)", *(f"  {p}" for p in self.problems)]))


class PluginError(MeasureflowError):
    """A plugin that breaks the rules of the registry; names both sides of a clash."""


class LostError(MeasureflowError):
    """Another process of the run ended, so that this one cannot go on."""


class NonFiniteError(MeasureflowError):
    """The state left the finite numbers or ran away; names the measure, the flow and the step size to lower.

    `last` is the last good system, where there is one to go back to.
    """

    def __init__(self, message: str, last: Any = None):
        self.last = last
        super().__init__(message)


class WriteError(MeasureflowError):
    """A file that cannot be written: the disk is full, say; names the file."""


class HeldError(MeasureflowError):
    """A folder that another process is at work in."""


class DamageError(MeasureflowError):
    """A file that is not what was written; names it and what is wrong with it."""


def unknown(what: str, name: object, known: Iterable[str]) -> str:
    """`unknown feature 'rellu'; known: gaussian, relu (did you mean 'relu'?)`."""
    names = sorted(known)
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"unknown {what} {name!r}; known: {', '.join(names) or 'none'}{hint}"
