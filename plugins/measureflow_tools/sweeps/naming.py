"""Names of members, from what was changed in them: unique, and fit for a folder."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

LONGEST = 100  # characters; file systems take 255 bytes, endings included
UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def ends(paths: Sequence[str]) -> dict[str, str]:
    """The shortest end that tells each dotted path from the others: `rate`, or `gamma.flows.0.rate` beside another rate."""
    parts = {path: path.split(".") for path in paths}
    return {path: ".".join(_end(own, [other for name, other in parts.items() if name != path])) for path, own in parts.items()}


def _end(own: Sequence[str], others: Sequence[Sequence[str]]) -> Sequence[str]:
    for n in range(1, len(own)):
        if not own[-n].isdigit() and all(list(other[-n:]) != list(own[-n:]) for other in others):
            return own[-n:]
    return own


def labels(values: Sequence[Any]) -> list[str]:
    """A word for each value, no two alike even where capitals do not count."""
    words = [_word(value) for value in values]
    if len({word.casefold() for word in words}) == len(words):
        return words
    return [f"{i}.{word}" for i, word in enumerate(words)]


def _word(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("kind", "table")
    text = str(value).lower() if isinstance(value, bool) else str(value).replace("+", "")  # 1e+18 is not 1e-18
    return UNSAFE.sub("-", text)


def joined(number: int, words: Mapping[str, str]) -> str:
    """`rate=5,seed=2`; one that is too long is cut, and begins with the member's number."""
    name = ",".join(f"{UNSAFE.sub('-', key)}={word}" for key, word in words.items())
    return name if len(name) <= LONGEST else f"{number},{name[: LONGEST - 10]}"
