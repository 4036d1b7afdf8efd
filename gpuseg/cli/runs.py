"""`gpuseg runs ACTION …`: look at runs of pipelines and keep them in order."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gpuseg.cli._parser import UsageError
from gpuseg.cli.run import script_failed
from gpuseg.io.tables import replacing

if TYPE_CHECKING:
    from gpuseg.pipeline._folders import Folder
    from gpuseg.pipeline._results import Result
    from gpuseg.pipeline.run import Run

    Target = tuple[Run, list[Result] | None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.usage = "gpuseg runs ACTION TARGET [STEP | more scripts] [options]"
    parser.description = """\
TARGET is a folder or URL of a run, or a script, which is read for what it wants up to the first
value that isn't there; nothing is computed.

  status      steps: results done, running, interrupted, failed, waiting; sizes and times
  explain     which ingredient of a key changed, for the missing results of STEP (script)
  invalidate  remove the results of STEP and all that depends on them
  cleanup     list what no script of the run refers to any more (name all that there are);
              --yes removes it
  verify      compare every file with its checksum; --repair drops what is damaged
  wait        until all that the script wants is there; exit code 1 if it won't be
  graph       the steps, as Mermaid or SVG"""
    parser.add_argument("action", metavar="ACTION", choices=sorted(_ACTIONS))
    parser.add_argument("target", metavar="TARGET")
    parser.add_argument("rest", metavar="STEP", nargs="*", default=[])
    parser.add_argument("--yes", action="store_true", help="cleanup: remove it")
    parser.add_argument("--repair", action="store_true", help="verify: drop what is damaged")
    parser.add_argument("--json", action="store_true", help="status: as JSON")
    parser.add_argument("--svg", metavar="FILE", help="graph: write a picture")
    parser.add_argument(
        "--idle",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="wait: give up after nobody has computed anything for so long (60)",
    )


def run(options: argparse.Namespace) -> int:
    """Do what is asked."""
    needs_step = options.action in ("explain", "invalidate")
    if needs_step and len(options.rest) != 1:
        raise UsageError(f"{options.action} needs the name of one STEP, got {options.rest}")
    if options.rest and not needs_step and options.action != "cleanup":
        raise UsageError(f"{options.action} takes one TARGET, got {options.rest[0]!r} as well")
    return _ACTIONS[options.action](options)


def _targets(
    options: argparse.Namespace, script_only: bool = False, target: str | None = None
) -> list[Target]:
    from gpuseg.pipeline._scripts import read_script
    from gpuseg.pipeline.run import Run

    target = options.target if target is None else target
    if target.endswith(".py"):
        try:
            script = read_script(target)
        except Exception as error:
            raise SystemExit(script_failed(target, error)) from None
        if not script.runs:
            raise UsageError(f"{target!r} makes no gpuseg.pipeline.Run")
        if script.stopped is not None:
            text = f"the script goes on when {script.stopped} is there; read up to that"
            if options.action == "cleanup":
                raise UsageError(f"{text}, so what it refers to isn't known")
            print(f"gpuseg runs: {text}", file=sys.stderr)
        return [(each, list(each.declared.values())) for each in script.runs]
    if script_only:
        raise UsageError(f"{options.action} needs the script (.py), got {target!r}")
    if "://" not in target and not os.path.isdir(target):
        raise UsageError(f"{target!r} is neither a script (.py) nor the folder of a run")
    run = Run(target)
    if not run.store.ours.exists("run.json") and next(run.store.names(), None) is None:
        raise UsageError(f"{target!r} is not the folder of a run: there are no results in it")
    return [(run, None)]


def _status(options: argparse.Namespace) -> int:
    from gpuseg.pipeline import _reports

    rows = [row for each in _targets(options) for row in _reports.status(*each)]
    if options.json:
        print(json.dumps(rows, indent=1))
    else:
        print("\n".join(_reports.lines(rows)))
    return 0


def _explain(options: argparse.Namespace) -> int:
    from gpuseg.pipeline._reports import explain

    found = [
        each
        for _, wanted in _targets(options, script_only=True)
        for each in wanted or ()
        if options.rest[0] in (each.name.step, each.name.step.rpartition(".")[2])
    ]
    if not found:
        raise UsageError(f"{options.target!r} wants nothing of a step {options.rest[0]!r}")
    for each in found:
        first, *rest = explain(each)
        print("\n".join([first, *(f"  {line}" for line in rest)]))
    return 0


def _invalidate(options: argparse.Namespace) -> int:
    from gpuseg.pipeline._upkeep import invalidate

    for each, _ in _targets(options):
        try:
            gone = invalidate(each, options.rest[0])
        except KeyError as error:
            raise UsageError(str(error.args[0])) from None
        print("\n".join(name.path for name in gone))
    return 0


def _cleanup(options: argparse.Namespace) -> int:
    from gpuseg.pipeline._upkeep import cleanup, unwanted

    runs: dict[Folder, tuple[Run, list[Result]]] = {}
    for script in (options.target, *options.rest):
        for each, wanted in _targets(options, script_only=True, target=script):
            runs.setdefault(each.store.root, (each, []))[1].extend(wanted or ())
    total = 0
    for each, wanted in runs.values():
        for name, size in (cleanup if options.yes else unwanted)(each, wanted):
            print(f"{size:>14,}  {name.path}")
            total += size
    done = "removed" if options.yes else "not referred to; --yes removes it"
    print(f"{total:>14,}  bytes {done}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from gpuseg.pipeline._upkeep import verify

    found = [problem for each, _ in _targets(options) for problem in verify(each, options.repair)]
    for problem in found:
        print(problem)
    state = "repaired, run the script again" if options.repair and found else "damaged"
    print(f"{len(found)} files {state}")
    return 1 if found and not options.repair else 0


def _wait(options: argparse.Namespace) -> int:
    from gpuseg.pipeline._reports import wait

    for each, wanted in _targets(options, script_only=True):
        reason = wait(each, wanted or (), options.idle)
        if reason is not None:
            print(f"gpuseg runs: {reason}", file=sys.stderr)
            return 1
    return 0


def _graph(options: argparse.Namespace) -> int:
    from gpuseg.pipeline import _reports

    rows, needs = [], {}
    for each in _targets(options):
        rows += _reports.status(*each)
        needs.update(_reports.edges(*each))
    if options.svg is None:
        print(_reports.mermaid(rows, needs))
        return 0
    with replacing(Path(options.svg)) as part:
        part.write_text(_reports.svg(rows, needs), encoding="utf-8")
    return 0


_ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "status": _status,
    "explain": _explain,
    "invalidate": _invalidate,
    "cleanup": _cleanup,
    "verify": _verify,
    "wait": _wait,
    "graph": _graph,
}
