"""The one way in which this floor compiles: without the GIL, cached on disk, and never stale."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numba


@cache
def stamp(floor: Path) -> str:
    """Hash of all sources that compiled code of this floor can contain."""
    digest = hashlib.sha256()
    for path in (*sorted(floor.glob("*.py")), *sorted((floor.parent / "_shared").glob("*.py"))):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def jit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile `function` with numba.

    numba's cache looks at the file of a function alone, so that after an upgrade a function would
    go on with the old code of those that it calls from other files. Here any change of this floor
    makes all of it compile again.

    Parameters
    ----------
    function : callable, optional
        Left out where there are options.
    **options
        `inline` or `forceinline`, as numba takes them.
    """
    if function is None:
        return partial(jit, **options)
    compiled = numba.njit(nogil=True, cache=True, **options)(function)
    compiled._cache._cache_file._source_stamp = stamp(Path(__file__).parent)
    return compiled
