"""`gpuseg run SCRIPT`: compute what a pipeline's script wants, beside others that do the same."""

from __future__ import annotations

import argparse
import sys
import traceback

from gpuseg.cli._parser import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.usage = "gpuseg run SCRIPT [arguments of the script]"
    parser.description = (
        "Run a Python script and compute all results that it declares (see gpuseg.pipeline).\n"
        "Start it as often as there are cores or machines: they divide the work.\n"
        "Exit code 0 only when every result exists."
    )
    parser.add_argument("script", metavar="SCRIPT")
    rest = parser.add_argument("arguments", nargs=argparse.REMAINDER, help="for the script")
    rest.required = False  # or argparse asks for them where SCRIPT is missing


def run(options: argparse.Namespace) -> int:
    """Run the script, then compute what it hasn't asked for itself."""
    from gpuseg.pipeline._execute import RunError
    from gpuseg.pipeline._scripts import run_script

    try:
        script = run_script(options.script, options.arguments)
    except FileNotFoundError as error:
        if error.filename is None:
            raise UsageError(str(error)) from None
        return _failed()
    except RunError as error:
        return _say(str(error), 1)
    except Exception:
        return _failed()
    if not script.runs:
        raise UsageError(f"{options.script!r} makes no gpuseg.pipeline.Run")
    computed, wanted, failures = 0, 0, []
    for each in script.runs:
        wanted += len(each.declared)
        try:
            computed += each.execute()
        except RunError as error:
            failures.append(str(error))
            computed += error.computed
    for text in failures:
        _say(text, 1)
    there = sum(each.exists() for run in script.runs for each in run.declared.values())
    text = f"{there} of {wanted} results are there, {computed} computed at the end of the script"
    return _say(text, 1 if failures else 0)


def _failed() -> int:
    traceback.print_exc()
    return 1


def _say(text: str, code: int) -> int:
    print(f"gpuseg run: {text}", file=sys.stderr)
    return code
