"""What a run holds: its state, its graph, why a result is wanted anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from xml.sax.saxutils import escape

from gpuseg.pipeline import _keys
from gpuseg.pipeline._folders import Folder
from gpuseg.pipeline._results import Result
from gpuseg.pipeline._shards import parsed
from gpuseg.pipeline._store import Name
from gpuseg.pipeline.run import Run

STATES = ("done", "running", "interrupted", "failed", "waiting")
Row = dict[str, Any]


def status(run: Run, wanted: Sequence[Result] | None = None) -> list[Row]:
    """A row for each step: how many results in which state, bytes, seconds, chunks under way.

    With `wanted`, the results of a script, these alone; without, all that the run holds. A draft
    whose owner died is "interrupted": the next process takes it up.
    """
    store = run.store
    names = set(store.names())
    failed, drafts = store.failures(), _drafts(run)
    if wanted is not None:
        asked = {each.name for each in wanted}
        names, failed = names & asked, {n: f for n, f in failed.items() if n in asked}
        drafts = {name: each for name, each in drafts.items() if name in asked}
    rows: dict[str, Row] = {}
    for name in [*(each.name for each in wanted or ()), *sorted(names), *sorted(drafts), *failed]:
        empty = {"step": name.step, **dict.fromkeys(STATES, 0), "bytes": 0, "seconds": 0.0}
        rows.setdefault(name.step, empty)
    for name in names:
        record = store.record(name)
        rows[name.step]["done"] += 1
        rows[name.step]["bytes"] += record["bytes"]
        rows[name.step]["seconds"] += record["seconds"]
    for name, (state, chunks) in drafts.items():
        if name not in names:
            rows[name.step][state] += 1
            if chunks:
                rows[name.step]["chunks"] = chunks
    for name in set(failed) - names - set(drafts):
        rows[name.step]["failed"] += 1
    for each in wanted or ():
        if each.name not in names and each.name not in drafts and each.name not in failed:
            rows[each.name.step]["waiting"] += 1
    return list(rows.values())


def _drafts(run: Run) -> dict[Name, tuple[str, str]]:
    drafts = dict(run.store.drafts())
    held = run.claims.held(drafts) if drafts else set()
    return {
        name: ("running" if name in held else "interrupted", _chunks(folder))
        for name, folder in drafts.items()
    }


def _chunks(folder: Folder) -> str:
    """How many chunks of an array are written, of how many."""
    done = total = 0
    for array in folder.children():
        if array.endswith(".zarr"):
            try:
                total += len(parsed(folder.read(f"{array}/0/zarr.json")).grid())
            except (FileNotFoundError, ValueError):
                continue
            done += sum(1 for _ in folder.names(f"{array}/0/c"))
    return f"{done} of {total}" if total else ""


def wait(run: Run, wanted: Iterable[Result], idle: float, look: float = 0.2) -> str | None:
    """Wait until all of a script's results exist; a reason why that won't be, or None.

    That nobody has claimed any of them for `idle` seconds is such a reason.
    """
    missing = {each.name: each for each in wanted}
    before = {name: each["id"] for name, each in run.store.failures().items()}
    since = time.monotonic()
    while True:
        done = run.store.done(missing)
        missing = {name: each for name, each in missing.items() if name not in done}
        if not missing:
            return None
        for name, failure in run.store.failures().items():
            if name in missing and failure["id"] != before.get(name):
                return f"{name.path} failed: {failure['error']}"
        if done or any(run.claims.is_claimed(name) for name in missing):
            since = time.monotonic()
        elif time.monotonic() - since > idle:
            return f"{len(missing)} results are missing, and nobody computes them"
        time.sleep(look)


def explain(result: Result) -> list[str]:
    """Which ingredients of a result's key differ from those of the nearest one that is stored."""
    if result.exists():
        return [f"{result.name.path} is there"]
    others = [each.record["ingredients"] for each in result.run.results(result.name.step)]
    changes = [list(_keys.differences(result.ingredients, each)) for each in others]
    if not changes:
        return [f"{result.name.path} is missing: no result of this step is stored"]
    nearest = min(changes, key=len)
    return [f"{result.name.path} is missing: nearest of {len(changes)} that are stored", *nearest]


def edges(run: Run, wanted: Sequence[Result] | None) -> dict[str, set[str]]:
    """Steps, each with those that it needs, as far as any of their results are known."""
    found: dict[str, set[str]] = {}
    if wanted is None:
        for name in run.store.names():
            needs = {each.partition("/")[0] for each in run.store.record(name)["needs"]}
            found.setdefault(name.step, set()).update(needs)
    for each in wanted or ():
        found.setdefault(each.name.step, set()).update(need.name.step for need in each.needs)
    return {step: needs & set(found) for step, needs in found.items()}


def mermaid(rows: Sequence[Row], needs: dict[str, set[str]]) -> str:
    """Graph of the steps for Mermaid."""
    number = {row["step"]: n for n, row in enumerate(rows)}
    lines = ["graph TD"]
    lines += [f'  s{number[row["step"]]}["{row["step"]}<br/>{_counts(row)}"]' for row in rows]
    for step, before in needs.items():
        lines += [f"  s{number[each]} --> s{number[step]}" for each in sorted(before)]
    return "\n".join(lines)


def _counts(row: Row) -> str:
    return ", ".join(f"{row[state]} {state}" for state in STATES if row[state]) or "nothing"


def svg(rows: Sequence[Row], needs: dict[str, set[str]]) -> str:
    """Graph of the steps as a picture: what a step needs lies above it."""
    depth = _depths(needs)
    width, height = 260, 90
    place: dict[str, tuple[int, int]] = {}
    used: dict[int, int] = {}
    for row in rows:
        level = depth(row["step"])
        place[row["step"]] = (used.get(level, 0) * width + 10, level * height + 10)
        used[level] = used.get(level, 0) + 1
    lines = [_line(place[each], place[step]) for step, before in needs.items() for each in before]
    boxes = [_box(place[row["step"]], row) for row in rows]
    right = max(used.values(), default=1) * width
    down = (max(used, default=0) + 1) * height
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{right}" height="{down}" '
        'font-family="sans-serif" font-size="13">'
    )
    return "\n".join([head, *lines, *boxes, "</svg>"])


def _depths(needs: dict[str, set[str]]) -> Callable[[str], int]:
    known: dict[str, int] = {}

    def depth(step: str) -> int:
        if step not in known:
            known[step] = 0  # a step may need itself, iterated
            known[step] = 1 + max((depth(each) for each in needs.get(step, ())), default=-1)
        return known[step]

    return depth


def _line(start: tuple[int, int], end: tuple[int, int]) -> str:
    return (
        f'<line x1="{start[0] + 120}" y1="{start[1] + 50}" x2="{end[0] + 120}" y2="{end[1]}" '
        'stroke="#888"/>'
    )


def _box(place: tuple[int, int], row: Row) -> str:
    x, y = place
    colour = "#fdd" if row["failed"] else "#dfd" if not row["waiting"] else "#eee"
    return (
        f'<rect x="{x}" y="{y}" width="240" height="50" rx="6" fill="{colour}" stroke="#555"/>'
        f'<text x="{x + 10}" y="{y + 20}">{escape(row["step"])}</text>'
        f'<text x="{x + 10}" y="{y + 40}" fill="#555">{_counts(row)}</text>'
    )


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """Status for people."""
    width = max([4, *(len(row["step"]) for row in rows)])
    yield f"{'step':{width}}" + "".join(f"{state:>12}" for state in STATES) + "        MB  seconds"
    for row in rows:
        counts = "".join(f"{row[state] or '':>12}" for state in STATES)
        rest = f"{row['bytes'] / 1e6:10.1f} {row['seconds']:8.1f}"
        chunks = f"  {row['chunks']} chunks" if row.get("chunks") else ""
        yield f"{row['step']:{width}}{counts}{rest}{chunks}"
