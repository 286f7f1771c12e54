"""Where the methods come from: the works of references.bib that an experiment uses.

A component of another distribution gives its own in `cites`, a class attribute: a tuple of BibTeX entries.
"""

from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

import attrs

from measureflow.api import Experiment

TORCH = "paszke2019pytorch"
USED: Mapping[tuple[str, str], tuple[str, ...]] = {  # the box's own components
    ("coupling", "dual-ebm"): ("domingoenrich2021dual",),
    ("coupling", "game"): ("domingoenrich2020meanfield",),
    ("coupling", "mmd"): ("arbel2019mmd",),
    ("coupling", "mmd-ball"): ("arbel2019mmd", "bach2017breaking"),
    ("coupling", "score-matching"): ("hyvarinen2005estimation",),
    ("coupling", "denoising"): ("vincent2011connection",),
    ("feature", "arc-cosine"): ("cho2009kernel",),
    ("flow", "adam"): ("kingma2015adam",),
    ("flow", "birth-death"): ("rotskoff2019birthdeath",),
    ("flow", "kinetic-langevin"): ("leimkuhler2013rational",),
    ("flow", "l2-ball"): ("bach2017breaking",),
    ("flow", "noisy-transport"): ("arbel2019mmd",),
    ("flow", "repeat"): ("hinton2002training",),
    ("flow", "restart"): ("domingoenrich2021dual",),
    ("flow", "svgd"): ("liu2016stein",),
    ("flow", "wfr"): ("chizat2018interpolating",),
    ("metric", "gap"): ("domingoenrich2021dual", "neal2001annealed"),
    ("metric", "kernel-stein"): ("liu2016kernelized",),
    ("metric", "nikaido-isoda"): ("domingoenrich2020meanfield",),
    ("metric", "nll"): ("neal2001annealed",),
    ("metric", "sinkhorn"): ("feydy2019interpolating",),
    ("reducer", "keops"): ("charlier2021keops",),
    ("scheme", "extragradient"): ("korpelevich1976extragradient",),
    ("scheme", "optimistic"): ("daskalakis2018training",),
}


def cited(e: Experiment) -> list[str]:
    """BibTeX of what an experiment uses, each work once, torch last."""
    known = entries()
    found = [entry for part in _parts(e) for entry in _cites(part, known)]
    return list(dict.fromkeys([*found, known[TORCH]]))


def entries() -> dict[str, str]:
    """The entries of references.bib by key."""
    text = files("measureflow_tools.report").joinpath("references.bib").read_text(encoding="utf-8")
    return {entry.split("{", 1)[1].split(",", 1)[0]: entry for entry in text.strip().split("\n\n")}


def _cites(part: Any, known: Mapping[str, str]) -> tuple[str, ...]:
    own: tuple[str, ...] = getattr(part, "cites", ())
    return own + tuple(known[key] for key in USED.get((getattr(part, "family", ""), getattr(part, "kind", "")), ()))


def _parts(value: Any) -> Iterator[Any]:
    """Every attrs object inside a value, itself first."""
    if attrs.has(type(value)):
        yield value
        for field in attrs.fields(type(value)):
            yield from _parts(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _parts(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _parts(item)
