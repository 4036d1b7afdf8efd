"""Functions that a run remembers the results of."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, overload

from gpuseg.pipeline._arrays import Storage, as_storage
from gpuseg.pipeline._versions import name_of, source_of, version_of

# The run within whose `with` block steps are called; None while a step's function runs.
active: ContextVar[Any] = ContextVar("active", default=None)


class Step:
    """A function with a version and a way of storage; see `step`.

    Within `with Run(…):` calling it declares a result; elsewhere it is the plain function.

    Examples
    --------
    >>> import tempfile
    >>> from gpuseg.pipeline import Run, step
    >>> @step(version="1")
    ... def doubled(x):
    ...     return 2 * x
    >>> with Run(tempfile.mkdtemp()):
    ...     result = doubled(doubled(3))
    >>> result.get(), doubled(3)
    (12, 6)
    """

    __gpuseg_step__ = True

    def __init__(self, function: Callable[..., Any], version: str | None, storage: Storage) -> None:
        if not inspect.isroutine(function) or inspect.ismethod(function):
            raise TypeError(
                f"a step is a function, got {function!r}; what it holds should be an argument"
            )
        functools.update_wrapper(self, function)
        self.function = function
        self.storage = storage
        self.name = name_of(function)
        self._version = version
        if version is None:
            source_of(function)  # before the file is edited
        self.signature = inspect.signature(function)

    def __repr__(self) -> str:
        return f"<step {self.name}>"

    @property
    def version(self) -> str:
        """What was pinned, or the hash of the source."""
        return self._version or version_of(inspect.unwrap(self.function))

    def __call__(self, *args: Any, **params: Any) -> Any:
        run = active.get()
        return self.function(*args, **params) if run is None else run(self, *args, **params)


@overload
def step(function: Callable[..., Any], /) -> Step: ...
@overload
def step(
    *, version: str | None = None, storage: Storage | Mapping[str, Any] | None = None
) -> Callable[[Callable[..., Any]], Step]: ...


def step(
    function: Callable[..., Any] | None = None,
    /,
    *,
    version: str | None = None,
    storage: Storage | Mapping[str, Any] | None = None,
) -> Any:
    """Make a function a step of pipelines: `@step` or `@step(version=…, storage=…)`.

    Parameters
    ----------
    function : callable
        Returns arrays (NumPy, CuPy, Dask, zarr), tables (pandas, Arrow, a dict of columns), what
        JSON holds, or lists, tuples and dicts of these. It should give the same for the same.
    version : str, optional
        Pinned: edited code keeps its results until the version changes. Default: a hash of the
        source, of captured variables, and of the functions and constants of the same file that
        it uses.
    storage : Storage or mapping, optional
        How its arrays lie on disk. It changes no key: see `gpuseg runs invalidate`.

    Returns
    -------
    step : Step
        Called within `with Run(…):` it declares a result; elsewhere it is the function.

    Raises
    ------
    TypeError
        If it is no function, has no source and no version, or an option is unknown.

    Examples
    --------
    >>> @step(version="1")
    ... def double(value):
    ...     return 2 * value
    >>> double(21)
    42
    """
    if version is not None and (not isinstance(version, str) or not version):
        raise ValueError(f"version must be a string that is not empty, got {version!r}")
    made = as_storage(storage)
    if function is not None:
        return Step(function, version, made)
    return lambda function: Step(function, version, made)


@functools.lru_cache(maxsize=4096)
def _as_step(function: Callable[..., Any]) -> Step:
    return Step(function, None, Storage())


def as_step(function: Any) -> Step:
    """The step itself, or one of a plain function."""
    return function if isinstance(function, Step) else _as_step(function)
