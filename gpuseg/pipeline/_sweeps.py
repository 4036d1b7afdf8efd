"""Many settings of a pipeline, what they share computed once, the best first."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gpuseg.pipeline._execute import RunError
from gpuseg.pipeline._results import Result, Stored
from gpuseg.pipeline.run import Run
from gpuseg.typing import Array

Setting = dict[str, Any]
Row = dict[str, Any]


def random_settings(
    ranges: Mapping[str, Sequence[Any]], count: int, *, seed: int = 0
) -> list[Setting]:
    """Settings drawn at random, for `sweep`.

    Parameters
    ----------
    ranges : mapping of str to sequence
        A tuple of two numbers is a range, its ends included where both are integers; anything
        else a choice.
    count : int
    seed : int
        The same seed draws the same settings, and the first ones of a larger count.

    Returns
    -------
    settings : list of dict

    Raises
    ------
    ValueError
        If `count` is not positive, or a range is empty.

    Examples
    --------
    >>> random_settings({"sigma": (0.5, 4.0), "method": ["otsu", "mean"]}, 2)
    [{'sigma': 2.729..., 'method': 'mean'}, {'sigma': 0.643..., 'method': 'otsu'}]
    """
    if count < 1:
        raise ValueError(f"count must be positive, got {count}")
    for name, values in ranges.items():
        if not len(values) or (_is_range(values) and values[0] > values[1]):
            raise ValueError(f"the range of {name} is empty: {values!r}")
    rng = np.random.default_rng(seed)
    return [{n: _drawn(values, rng) for n, values in ranges.items()} for _ in range(count)]


def _is_range(values: Sequence[Any]) -> bool:
    return (
        type(values) is tuple and len(values) == 2 and all(type(v) in (int, float) for v in values)
    )


def _drawn(values: Sequence[Any], rng: np.random.Generator) -> Any:
    if not _is_range(values):
        return values[int(rng.integers(len(values)))]
    low, high = values
    if type(low) is int and type(high) is int:
        return int(rng.integers(low, high + 1))
    return float(rng.uniform(low, high))


def settings_of(parameters: Mapping[str, Sequence[Any]] | Iterable[Setting]) -> list[Setting]:
    """Settings of a grid, the last name varying fastest, or those of a list.

    Raises
    ------
    ValueError
        If there are none.
    """
    if isinstance(parameters, Mapping):
        combined = itertools.product(*parameters.values())
        found = [dict(zip(parameters, values, strict=True)) for values in combined]
    else:
        found = [dict(each) for each in parameters]
    if not found:
        raise ValueError(f"there must be at least one setting, got {parameters!r}")
    return found


def sweep(
    run: Run,
    pipeline: Callable[..., Stored],
    parameters: Mapping[str, Sequence[Any]] | Iterable[Setting],
    *,
    inputs: Sequence[Any] = (),
    score: Callable[[Any], float] | str | None = None,
    crop: tuple[slice, ...] | None = None,
    keep: int = 5,
) -> list[Row]:
    """Compute a pipeline under many settings; the best come first.

    Results are remembered like all others: steps that settings share are computed once, a sweep
    that was stopped goes on, and any number of processes may work on it.

    Parameters
    ----------
    run : Run
    pipeline : callable
        `pipeline(*inputs, **setting)` declares results on the run and returns the last one.
    parameters : mapping or iterable of mappings
        A grid (values by name), or settings one by one; see `random_settings`.
    inputs : sequence
        Arrays, or results that are arrays: an image and its gold standard.
    score : callable or str, optional
        Number of the pipeline's value, the larger the better: a function (a step of its own) or
        a key of the mapping that it is. Default: the value itself.
    crop : tuple of slice, optional
        Sweep over this part of all inputs first, then compute the best settings on the whole.
    keep : int
        How many settings go on from the crop to the whole.

    Returns
    -------
    rows : list of dict
        The setting, `score` (of the whole; nan where only the crop was computed), `crop_score`
        with a crop, `seconds` (of the result and all that it needs), `result` (its name) and
        `error` (None, or why there is no score).

    Raises
    ------
    ValueError
        If there are no settings, or `keep` is not positive.
    TypeError
        If the pipeline returns no result, or a score is no number.

    Examples
    --------
    >>> import tempfile
    >>> from gpuseg.pipeline import Run, step, sweep
    >>> @step(version="1")
    ... def squared(x):
    ...     return x * x
    >>> @step(version="1")
    ... def minus(square, c):
    ...     return -abs(square - c)
    >>> run = Run(tempfile.mkdtemp())
    >>> rows = sweep(run, lambda x, c: run(minus, run(squared, x), c),
    ...              {"x": [1, 2, 3], "c": [4, 8]})
    >>> [(row["x"], row["c"], row["score"]) for row in rows[:3]]
    [(2, 4, 0.0), (3, 8, -1.0), (1, 4, -3.0)]
    """
    if keep < 1:
        raise ValueError(f"keep must be positive, got {keep}")
    settings = settings_of(parameters)
    if crop is None:
        return _best_first(_rows(run, pipeline, settings, inputs, score), "score")
    small = [run(_cropped, each, [[s.start, s.stop, s.step] for s in crop]) for each in inputs]
    tried = _best_first(_rows(run, pipeline, settings, small, score), "score")
    for row in tried:
        row["crop_score"] = row.pop("score")
    chosen = [row for row in tried if row["error"] is None][:keep]
    names = list(settings[0])
    whole = _rows(run, pipeline, [{n: row[n] for n in names} for row in chosen], inputs, score)
    for row, after in zip(chosen, whole, strict=True):
        row.update(after)
    for row in tried:
        row.setdefault("score", math.nan)
    return _best_first(tried, "crop_score", "score")


def _cropped(array: Array, region: list[list[int | None]]) -> Array:
    return array[tuple(slice(*each) for each in region)]


def _rows(
    run: Run,
    pipeline: Callable[..., Stored],
    settings: Sequence[Setting],
    inputs: Sequence[Any],
    score: Callable[[Any], float] | str | None,
) -> list[Row]:
    results = []
    for setting in settings:
        result = pipeline(*inputs, **setting)
        if not isinstance(result, Result):
            raise TypeError(f"the pipeline must return a result of the run, got {result!r}")
        if isinstance(score, str):
            result = result[score]
        elif score is not None:
            result = run(score, result)
        results.append(result)
    failures: dict[str, str] = {}
    try:
        run.execute(results)
    except RunError as error:
        failures = error.failures
    rows = zip(settings, results, strict=True)
    return [_row(setting, result, failures.get(result.name.path)) for setting, result in rows]


def _row(setting: Setting, result: Result, error: str | None) -> Row:
    row = {**setting, "score": math.nan, "seconds": math.nan}
    if error is None:
        value = result.get()
        try:
            row["score"] = float(value)
        except (TypeError, ValueError):
            raise TypeError(
                f"a score must be a number, got {type(value).__name__} of {result!r}; "
                "give sweep a score= that makes it one"
            ) from None
        row["seconds"] = _seconds(result)
    return {**row, "result": result.name.path, "error": error}


def _seconds(result: Stored) -> float:
    """Of a result and all that it needs, each once."""
    seen: dict[Any, float] = {}
    waiting = [result]
    while waiting:
        each = waiting.pop()
        if each.name not in seen:
            seen[each.name] = each.record["seconds"] if each.exists() else 0.0
            waiting += each.needs if isinstance(each, Result) else []
    return sum(seen.values())


def _best_first(rows: Sequence[Row], *columns: str) -> list[Row]:
    """Sorted by the last column, by the one before where that is nan."""
    ordered = list(rows)
    for column in columns:
        ordered.sort(key=lambda row: -math.inf if math.isnan(row[column]) else row[column],
                     reverse=True)  # fmt: skip
    return ordered
