"""The pairs of one `gpuseg compare`, one after the other, each remembered before the next."""

from __future__ import annotations

import hashlib
import json
import math
import traceback
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuseg.cli._parser import EXPECTED, reason
from gpuseg.cli.compare_files import Pair, read_labels
from gpuseg.cli.compare_rows import Scored
from gpuseg.cli.inputs import slide_key
from gpuseg.cli.ledger import Ledger, state_of
from gpuseg.cli.progress import Images
from gpuseg.io.tables import Row, replacing

if TYPE_CHECKING:
    from gpuseg.compare import Comparison
    from gpuseg.typing import Array


class Batch:
    """Pairs of one command: what is known, what fails, what remains.

    With a table each pair is a line of its ledger, and its overlaps, of which summaries are made,
    are a file in a folder beside it.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        group_of: Callable[[Pair], str],
        settings: Mapping[str, Any],
        table: Path | None,
    ) -> None:
        self.pairs, self._group_of, self._settings = pairs, group_of, dict(settings)
        self._ledger = None if table is None else Ledger(table)
        self._folder = None if table is None else table.with_name(f"{table.name}.gpuseg.overlaps")
        self._todo: list[tuple[int, dict[str, Any]]] = []
        self._found: dict[int, Scored] = {}
        self.compared = self.kept = self.failed = 0

    @property
    def scored(self) -> list[Scored]:
        """Pairs that were compared, now or before, in their order."""
        return [self._found[number] for number in sorted(self._found)]

    def look(self, progress: Images) -> None:
        """Take what is known of pairs that have not changed; leave the others to do."""
        for number, pair in enumerate(self.pairs):
            with self._reported(pair, progress):
                if pair.problem:
                    raise ValueError(pair.problem)
                made_from = self._made_from(pair)
                known = self._known(pair, made_from)
                if known is None:
                    self._todo.append((number, made_from))
                else:
                    self._found[number] = known
                    self.kept += 1
        progress.skip(self.kept + self.failed)

    def compare(self, progress: Images) -> None:
        """Compare the pairs that remain, each remembered before the next begins."""
        for number, made_from in self._todo:
            pair = self.pairs[number]
            if self._ledger is not None:
                self._ledger.forget(_key(pair))
            with self._reported(pair, progress):
                scored = _compare(pair, self._group_of(pair), self._settings)
                if self._made_from(pair) != made_from:
                    raise OSError(f"{pair.pred} or {pair.gold} changed while they were read")
                self._remember(scored, made_from)
                self._found[number] = scored
                self.compared += 1
            progress.add()

    @contextmanager
    def _reported(self, pair: Pair, progress: Images) -> Iterator[None]:
        """Report whatever fails about one pair, so that the others go on."""
        try:
            yield
        except Exception as error:
            self.failed += 1
            told = reason(pair.pred or pair.gold, error)
            if not isinstance(error, (*EXPECTED, TypeError)):  # a defect, of ours or of a decoder
                progress.say("".join(traceback.format_exception(error)).rstrip())
                told += " (a defect)"
            progress.say(f"gpuseg compare: error: {told}")

    def write_table(self, *, at_once: bool = True) -> None:
        """Write the table, if there is one."""
        if self._ledger is not None:
            self._ledger.write_table([_key(pair) for pair in self.pairs], at_once=at_once)

    def _made_from(self, pair: Pair) -> dict[str, Any]:
        """Everything that decides a pair's numbers, as JSON keeps it."""
        states = [state_of(pair.pred), state_of(pair.gold)]
        made_from = {
            "input": None if None in states else states,
            "settings": self._settings,
        }
        decoded: dict[str, Any] = json.loads(json.dumps(made_from))
        return decoded

    def _known(self, pair: Pair, made_from: dict[str, Any]) -> Scored | None:
        if self._ledger is None:
            return None
        path = self._overlap(pair)
        rows = self._ledger.rows(_key(pair), made_from, [path])
        found = _loaded(path) if rows else None
        if found is None:
            return None
        named = _names(pair, self._group_of(pair))
        row = {**rows[0], **named}
        if row != rows[0]:  # by --group or --match it is called otherwise now
            self._ledger.add(_key(pair), made_from, [path], [row])
        return Scored(pair, named["group"], found, row)

    def _remember(self, scored: Scored, made_from: dict[str, Any]) -> None:
        if self._ledger is None:
            return
        path = self._overlap(scored.pair)
        path.parent.mkdir(exist_ok=True)
        _save(path, scored.comparison)
        self._ledger.add(_key(scored.pair), made_from, [path], [scored.row])
        self.write_table(at_once=False)

    def _overlap(self, pair: Pair) -> Path:
        assert self._folder is not None
        key = _key(pair).encode(errors="backslashreplace")
        return self._folder / f"{hashlib.sha256(key).hexdigest()[:20]}.npz"


def _key(pair: Pair) -> str:
    return f"{slide_key(pair.pred)} against {slide_key(pair.gold)}"


def _names(pair: Pair, group: str) -> dict[str, str]:
    names = {"method": pair.method, "image": pair.image, "group": group}
    return {**names, "pred": pair.pred, "gold": pair.gold}


def _save(path: Path, comparison: Comparison) -> None:
    import numpy as np

    with replacing(path) as part:
        np.savez_compressed(part, **comparison.overlap._asdict())


def _loaded(path: Path) -> Comparison | None:
    """What `_save` wrote; None if it is damaged."""
    import numpy as np

    from gpuseg._shared.overlap import Overlap
    from gpuseg.compare import Comparison

    try:
        with np.load(path, allow_pickle=False) as stored:
            return Comparison(Overlap(*(stored[name] for name in Overlap._fields)))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _compare(pair: Pair, group: str, settings: dict[str, Any]) -> Scored:
    from gpuseg.compare import compare_labels

    regions = settings["regions"]
    gold = read_labels(pair.gold, regions=regions in ("gold", "both"))
    pred = read_labels(pair.pred, regions=regions in ("pred", "both"))
    if gold.shape != pred.shape:
        hint = ""
        if not regions and {3, 4} & {gold.shape[-1], pred.shape[-1]}:
            hint = "; if colours tell objects apart, say --regions"
        raise ValueError(f"{pair.pred} has shape {pred.shape}, {pair.gold} {gold.shape}{hint}")
    found = compare_labels(gold, pred)
    return Scored(pair, group, found, _names(pair, group) | metrics(gold, pred, found, settings))


def metrics(
    gold: Array, pred: Array, found: Comparison, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """All columns of numbers; what is not a number is missing."""
    from gpuseg.compare import THRESHOLDS, surface_distances

    row = found.to_dict(settings["thresholds"] or THRESHOLDS)
    if settings["sizes"]:
        for lower, upper, n_true, missed in found.missed_by_size(settings["sizes"]):
            span = f"{lower:g}_{upper:g}"
            row |= {f"n_true_{span}": n_true, f"missed_{span}": missed}
    if settings["surfaces"]:
        distances = surface_distances(gold, pred, spacing=settings["spacing"])
        for name in ("hausdorff", "hausdorff_95", "average"):
            values = getattr(distances, name)
            named = "average_surface_distance" if name == "average" else name
            row[named] = float(values.mean()) if values.size else math.nan
    return dict(finite(row))


def finite(row: Row) -> Row:
    """The row, with None for what is not a number, as ledger and table keep it."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }
