"""A run: a folder or bucket of remembered results, and the calls that a script wants of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from contextvars import ContextVar, Token
from typing import Any, Literal

from gpuseg.cluster import Cluster
from gpuseg.pipeline import _execute, _keys
from gpuseg.pipeline._claims import Claims, Leases, Locks
from gpuseg.pipeline._folders import LocalFolder
from gpuseg.pipeline._results import NotReady, Result, Stored
from gpuseg.pipeline._steps import Step, active, as_step
from gpuseg.pipeline._store import is_network, open_store

# Runs that a script under `gpuseg run` or `gpuseg runs` made.
opened: ContextVar[list[Run] | None] = ContextVar("opened", default=None)
# Whether the script is only read for what it wants.
declaring: ContextVar[bool] = ContextVar("declaring", default=False)


class Run:
    """Results of steps under a path or URL; any number of processes and machines may share it.

    Parameters
    ----------
    url : str or path
        Folder, made when the first result is computed, or a URL of fsspec (`s3://…`, `gs://…`).
    claims : {"locks", "leases"}, optional
        How processes agree who computes what; default: locks of the kernel on local file systems,
        leases elsewhere. The first process decides for all.
    scheduler, workers : optional
        What computes the chunks of Dask arrays, as for `gpuseg.cluster.connect`.
    storage_options : mapping, optional
        For fsspec, with a URL.
    viewer : napari.Viewer, optional
        Where arrays and tables of objects are shown as lazy layers, each when it is first asked
        for; see `gpuseg.viewer.add`, which shows single ones.

    Raises
    ------
    ValueError
        If `url` is a file, or an option has no such value.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from gpuseg.pipeline import Run, step
    >>> @step(version="1")
    ... def smooth(image, sigma):
    ...     print("computing")
    ...     return image / sigma
    >>> run = Run(tempfile.mkdtemp())
    >>> halves = run(smooth, np.arange(4.0), sigma=2)
    >>> halves.get()
    computing
    array([0. , 0.5, 1. , 1.5])
    >>> run(smooth, np.arange(4.0), 2).get()
    array([0. , 0.5, 1. , 1.5])
    >>> run["smooth"].lazy()
    dask.array<gpuseg-result-..., shape=(4,), dtype=float64, chunksize=(4,), ...>
    """

    def __init__(
        self,
        url: str | os.PathLike[str],
        *,
        claims: Literal["locks", "leases"] | None = None,
        scheduler: str | Cluster | None = None,
        workers: int | None = None,
        storage_options: Mapping[str, Any] | None = None,
        viewer: Any = None,
    ) -> None:
        if claims not in (None, "locks", "leases"):
            raise ValueError(f"claims must be 'locks' or 'leases', got {claims!r}")
        self.store = open_store(url, storage_options or {})
        if claims == "locks" and not isinstance(self.store.root, LocalFolder):
            raise ValueError(f"locks are for local folders, got {os.fspath(url)!r}")
        self.scheduler, self.workers = scheduler, workers
        self.viewer = viewer
        self._shown: set[str] = set()
        self.declared: dict[str, Result] = {}
        self._kind = claims
        self._claims: Claims | None = None
        self._tokens: list[Token[Any]] = []
        collected = opened.get()
        if collected is not None:
            collected.append(self)

    def __repr__(self) -> str:
        root = self.store.root
        return f"<Run {(root.path if isinstance(root, LocalFolder) else root.url)!r}>"

    def __enter__(self) -> Run:
        self._tokens.append(active.set(self))
        return self

    def __exit__(self, *_: object) -> None:
        active.reset(self._tokens.pop())

    def __call__(self, step: Step | Callable[..., Any], /, *args: Any, **params: Any) -> Result:
        """Declare a result; nothing runs until it is asked for.

        Parameters
        ----------
        step : Step or function
        *args, **params
            Arrays, files (`pathlib.Path`, `File`), numbers, strings, results of other steps (or
            items of them, `result[0]`), lists and dicts of these, or `declare(value, token)`.

        Raises
        ------
        TypeError
            If the arguments don't fit the function, or one can't be hashed; the message says
            which.
        FileNotFoundError
            If a file isn't there.
        """
        made = as_step(step)
        bound = made.signature.bind(*args, **params)
        bound.apply_defaults()
        needs: list[Stored] = []
        ingredients = {"version": made.version}
        for name, value in bound.arguments.items():
            try:
                ingredients[name] = _keys.line(value, needs)
            except TypeError as error:
                raise TypeError(f"argument {name!r} of {made.name}: {error}") from error
        for need in needs:
            if need.run.store.root != self.store.root:
                raise ValueError(f"{need!r} belongs to {need.run!r}; get() it first")
        key = _keys.key_of(made.name, ingredients)
        if key not in self.declared:
            self.declared[key] = Result(self, made, bound.arguments, ingredients, key, needs)
        return self.declared[key]

    def __getitem__(self, name: str) -> Stored:
        """The result of a step that is stored here, by the step's name or by `step/key`.

        Raises
        ------
        KeyError
            If there is none, or more than one; the message lists them.
        """
        found = self.results(name)
        if len(found) == 1:
            return found[0]
        if not found:
            known = sorted({each.step for each in self.store.names()})
            raise KeyError(f"{self!r} has no result of {name!r}; it has {', '.join(known) or '-'}")
        listed = "; ".join(f"{each.name.path} ({_arguments(each.record)})" for each in found[:10])
        raise KeyError(f"{self!r} has {len(found)} results of {name!r}, name one: {listed}")

    def results(self, step: str | None = None) -> list[Stored]:
        """All stored results, or those of a step, `module.name` or just its `name`.

        The latest comes first, by the clocks of the machines that computed them.
        """
        wanted, _, short = (step or "").partition("/")
        found = [
            Stored(self, name)
            for name in self.store.names()
            if (step is None or name.step == wanted or name.step.endswith(f".{wanted}"))
            and name.short.startswith(short)
        ]
        return sorted(found, key=lambda each: str(each.record["finished"]), reverse=True)

    def execute(self, results: Iterable[Result] | None = None) -> int:
        """Compute what is missing, together with all other processes that do the same.

        Returns when all results exist, whoever computed them.

        Parameters
        ----------
        results : iterable of Result, optional
            Default: all that were declared on this run.

        Returns
        -------
        computed : int
            Number of results that this process computed.

        Raises
        ------
        RunError
            If results fail; those that don't depend on them are computed first.
        """
        wanted = list(self.declared.values() if results is None else results)
        if declaring.get():
            if results is not None:
                raise NotReady(", ".join(each.name.path for each in wanted))
            return 0
        computed = _execute.execute(self, wanted)
        for each in wanted:
            self.show(each)
        return computed

    def show(self, result: Stored) -> None:
        """Show a stored result in the viewer of this run, once, if there is one."""
        if self.viewer is None or result.full_name in self._shown or not result.exists():
            return
        from gpuseg.viewer import NothingToShow, add

        self._shown.add(result.full_name)
        with suppress(NothingToShow):
            add(self.viewer, result)

    @property
    def claims(self) -> Claims:
        """Locks or leases, as the first process of this run decided."""
        if self._claims is None:
            root = self.store.root
            kind = self._kind
            if kind is None:
                kind = "locks" if _has_locks(root) else "leases"
            found = self.store.begun({"claims": kind, "layout": 1})["claims"]
            if self._kind is not None and found != self._kind:
                raise ValueError(f"{self!r} is run with {found}, got claims={self._kind!r}")
            if found == "locks" and isinstance(self.store.ours, LocalFolder):
                self._claims = Locks(f"{self.store.ours.path}/locks")
            else:
                self._claims = Leases(self.store.ours.sub("leases"))
        return self._claims


def _has_locks(root: Any) -> bool:
    try:
        import fcntl  # noqa: F401
    except ImportError:  # Windows
        return False
    return isinstance(root, LocalFolder) and not is_network(root.path)


def _arguments(record: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={text[:40]}" for name, text in record["ingredients"].items())
