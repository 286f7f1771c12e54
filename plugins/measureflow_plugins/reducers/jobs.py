"""A loop and its formulas compiled into one function of one pointer, which every thread calls with the same job."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from measureflow.core.feature import Form
from measureflow_plugins.reducers.compiler import entry, formula, inlined, numba, part, pointers
from measureflow_plugins.reducers.loops import PARTS
from measureflow_plugins.reducers.threads import openmp
from measureflow_plugins.reducers.traced import Scalar

ARRAYS = ("X", "Y", "a", "value", "grad")  # addresses; shapes (n, d), (m, e), (k,), (parts, n), (parts, n, d)
SIZES = ("n", "d", "m", "e", "k", "parts", "pieces")
JOB = np.dtype([(name, np.int64) for name in (*ARRAYS, *SIZES)])


@functools.cache
def job_function(way: Callable[..., None], form: Form, kappa: Scalar | None, slope: Scalar | None, double: bool) -> Any:
    """The compiled function of a pointer to a `JOB`: this thread's share of its pieces, done the given `way` round."""
    loop, (term, toward), at = _inlined(way), couplings(form), pointers(double)
    array, which, of = numba().carray, openmp().omp_get_thread_num, openmp().omp_get_num_threads

    def share(jobs: Any) -> None:
        job = array(jobs, 1)[0]
        X, Y, a = array(at(job.X), (job.n, job.d)), array(at(job.Y), (job.m, job.e)), array(at(job.a), (job.k,))
        value, grad = array(at(job.value), (job.parts, job.n)), array(at(job.grad), (job.parts, job.n, job.d))
        start, stop = job.pieces * which() // of(), job.pieces * (which() + 1) // of()
        loop(X, Y, a, value, grad, start, stop, term, toward, kappa, slope)

    return entry(share, JOB)


@functools.cache
def _inlined(way: Callable[..., None]) -> Callable[..., None]:
    for function in PARTS:
        part(function)
    return inlined(way)


@functools.cache
def couplings(form: Form) -> tuple[Scalar, Scalar]:
    """`term(x, y)`, what a coordinate adds to the profile's argument, and `toward(x, y)`, the factor of its derivative."""
    if form == "dot":
        return formula(lambda x, y: x * y), formula(lambda x, y: y)
    return formula(lambda x, y: (x - y) * (x - y)), formula(lambda x, y: x - y)
