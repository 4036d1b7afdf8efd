"""Results: those that a script declares, and those that lie in a run."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gpuseg.pipeline._store import Name
from gpuseg.pipeline._values import Reader

if TYPE_CHECKING:
    from gpuseg.pipeline._folders import Folder
    from gpuseg.pipeline._steps import Step
    from gpuseg.pipeline.run import Run


class NotReady(BaseException):
    """A script that is only read asked for a value that isn't there yet."""


class Stored:
    """A result in a run's store.

    Attributes
    ----------
    name : Name
        `(step, short key)`.

    Examples
    --------
    >>> import tempfile
    >>> from gpuseg.pipeline import Run, step
    >>> @step(version="1")
    ... def divided(a, b):
    ...     return divmod(a, b)
    >>> run = Run(tempfile.mkdtemp())
    >>> run(divided, 17, 5).get()
    (3, 2)
    >>> run["divided"].record["ingredients"]
    {'version': '1', 'a': '17', 'b': '5'}
    >>> run["divided"][1].get()
    2
    """

    __gpuseg_result__ = True

    def __init__(self, run: Run, name: Name, at: tuple[Any, ...] = ()) -> None:
        self.run, self.name, self.at = run, name, at

    @property
    def key(self) -> str:
        """The whole key."""
        return str(self.record["key"])

    @property
    def full_name(self) -> str:
        """Step, whole key and item: what other keys are made from."""
        return f"{self.name.step}/{self.key}{''.join(f'[{each!r}]' for each in self.at)}"

    @property
    def record(self) -> dict[str, Any]:
        """What made it, when, how long it took, how large it is: `result.json`."""
        return self.run.store.record(self.name)

    @property
    def folder(self) -> Folder:
        """Where its files lie."""
        return self.run.store.folder(self.name)

    def __getitem__(self, item: Any) -> Stored:
        return Stored(self.run, self.name, (*self.at, item))

    def __iter__(self) -> Any:
        raise TypeError(f"{self!r} is not computed yet: get() it, or take its items by number")

    def __repr__(self) -> str:
        return f"<result {self.name.path}{''.join(f'[{each!r}]' for each in self.at)}>"

    def exists(self) -> bool:
        """Whether it has been computed."""
        return self.run.store.exists(self.name)

    def get(self) -> Any:
        """The value, as the step's function returned it: Dask arrays are lazy, others are read.

        Raises
        ------
        RunError
            If it can't be computed.
        """
        value = self.value(lazy=False)
        self.run.show(self)
        return value

    def lazy(self) -> Any:
        """The value with all its arrays as Dask arrays, which read what is used of them."""
        value = self.value(lazy=True)
        self.run.show(self)
        return value

    def value(self, lazy: bool) -> Any:
        """The value, not shown in any viewer."""
        try:
            found = self._tree()
        except ValueError as error:
            self._drop_damaged(error)
            found = None
        if found is None:
            self._compute()
            found = self._tree()
        if found is None:
            raise LookupError(f"{self.name.path} is not in {self.run!r} any more")
        return Reader(self.folder, self.name.flat, lazy).at(found[0], self.at)

    def _tree(self) -> tuple[Any] | None:
        """JSON of the value, in a tuple, for it may be None itself."""
        found = self.run.store.value(self.name)
        return None if found is None else (json.loads(found.decode()),)

    def _compute(self) -> None:
        pass

    def _drop_damaged(self, error: ValueError) -> None:
        raise error

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.asarray(self.get(), dtype)


class Result(Stored):
    """A call of a step that a script declared; computed when it is asked for.

    Attributes
    ----------
    ingredients : dict of str to str
        What its key is made from.

    Examples
    --------
    >>> import tempfile
    >>> from gpuseg.pipeline import Run, step
    >>> @step(version="1")
    ... def doubled(x):
    ...     return 2 * x
    >>> result = Run(tempfile.mkdtemp())(doubled, 3)
    >>> result.exists(), result.get(), result.exists()
    (False, 6, True)
    """

    def __init__(
        self,
        run: Run,
        step: Step,
        arguments: Mapping[str, Any],
        ingredients: dict[str, str],
        key: str,
        needs: list[Stored],
        at: tuple[Any, ...] = (),
    ) -> None:
        super().__init__(run, Name(step.name, key[:12]), at)
        self.step, self.arguments, self.ingredients = step, arguments, ingredients
        self._key, self.needs = key, needs

    @property
    def key(self) -> str:
        """The whole key."""
        return self._key

    def __getitem__(self, item: Any) -> Result:
        made = (self.step, self.arguments, self.ingredients, self._key, self.needs)
        return Result(self.run, *made, (*self.at, item))

    def _compute(self) -> None:
        self.run.execute([self])

    def _drop_damaged(self, error: ValueError) -> None:
        """Compute it again: the machine died before the disk had it, and nobody knows it."""
        warnings.warn(f"{error}; it is computed again", RuntimeWarning, stacklevel=4)
        self.run.store.withdraw(self.name)
