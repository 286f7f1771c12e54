"""Packages that come with an extra, imported where they are first used."""

import importlib
from typing import Any

from measureflow.api import MeasureflowError


def needed(module: str, who: str, extra: str) -> Any:
    """The module that `who` needs; raises MeasureflowError that says what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MeasureflowError(
            f"{who} needs {module}, which cannot be imported ({error}); pip install 'measureflow[{extra}]'"
        ) from None
