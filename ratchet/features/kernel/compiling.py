"""How formulas become machine code, and when a stored compilation may be used again."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numba

_P = ParamSpec("_P")
_R = TypeVar("_R")


def formula(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Compile a function into every compiled function that calls it; it allocates no array, and Python cannot call it.

    Division by zero gives infinity or NaN as in numpy. No arithmetic is reordered, so that results do not depend on
    what a function is inlined into. Without reference counts, which a function that allocates nothing can do without,
    and without a wrapper for Python, the kernel is more than twice as fast and compiles in half the time.
    """
    options = {"forceinline": True, "_nrt": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    compiled: Callable[_P, _R] = numba.njit(error_model="numpy", **options)(function)
    return compiled


def section(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Compile a function that several others call and that is too large to be repeated in each of them."""
    compiled: Callable[_P, _R] = numba.njit(error_model="numpy", _nrt=False)(function)
    return compiled


def entry_point(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Compile a function that Python calls; the machine code is kept on disk for the next process.

    Numba looks only at the entry point's own file to tell whether the code on disk is current. The function must
    therefore be a closure over `SOURCE_DIGEST`, which is part of numba's key: then a change of any formula counts.
    """
    compiled: Callable[_P, _R] = numba.njit(error_model="numpy", nogil=True, cache=True)(function)
    return compiled


def _source_digest() -> int:
    state = hashlib.sha256(numba.__version__.encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        state.update(path.read_bytes())
    return int.from_bytes(state.digest()[:7], "big")


SOURCE_DIGEST = _source_digest()
"""Of all modules of this package and the compiler's version."""


def dispatcher(formulas: Sequence[Callable[..., float]], arguments: str) -> Callable[..., float]:
    """Return a compiled `value(operation, <arguments>)` that calls the formula at place `operation`.

    The chain of comparisons is generated because numba calls no functions out of a table without giving up inlining.
    """
    names = {f"formula_{place}": function for place, function in enumerate(formulas)}
    branches = [
        f"    if operation == {place}:\n        return formula_{place}({arguments})\n" for place in range(len(names))
    ]
    source = f"def value(operation, {arguments}):\n{''.join(branches)}    return math.nan\n"
    scope: dict[str, Any] = {"math": math, **names}
    exec(source, scope)  # noqa: S102 -- the text is made of numbers and of our own argument names
    return section(scope["value"])
