"""`gpuseg run SCRIPT`: compute what a pipeline's script wants, beside others that do the same."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gpuseg.cli._parser import UsageError
from gpuseg.cli.progress import Results

if TYPE_CHECKING:
    from gpuseg.pipeline.run import Run

_INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.usage = "gpuseg run [--no-progress] SCRIPT [arguments of the script]"
    parser.description = (
        "Run a Python script and compute all results that it declares (see gpuseg.pipeline).\n"
        "Start it as often as there are cores or machines: they divide the work.\n"
        "Exit code 0 only when every result exists."
    )
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="bar on a terminal, a line every few seconds in a log (default)",
    )
    parser.add_argument("script", metavar="SCRIPT")
    rest = parser.add_argument("arguments", nargs=argparse.REMAINDER, help="for the script")
    rest.required = False  # or argparse asks for them where SCRIPT is missing


def run(options: argparse.Namespace) -> int:
    """Run the script, then compute what it hasn't asked for itself."""
    from gpuseg.pipeline._execute import RunError
    from gpuseg.pipeline._scripts import run_script

    try:
        with Results(show=options.progress):
            script = run_script(options.script, options.arguments)
    except KeyboardInterrupt:
        return _say("stopped. Run the same command again to go on.", _INTERRUPTED)
    except RunError as error:
        return _say(str(error), 1)
    except Exception as error:
        return script_failed(options.script, error)
    if not script.runs:
        raise UsageError(f"{options.script!r} makes no gpuseg.pipeline.Run")
    with Results(show=options.progress):
        computed, failures, stopped = _execute(script.runs)
    for text in failures:
        _say(text, 1)
    results = [result for run in script.runs for result in run.declared.values()]
    there = f"{sum(result.exists() for result in results)} of {len(results)} results are there"
    if stopped:
        return _say(f"stopped. {there}. Run the same command again to go on.", _INTERRUPTED)
    text = f"{there}, {computed} computed at the end of the script"
    return _say(text, 1 if failures else 0)


def _execute(runs: Sequence[Run]) -> tuple[int, list[str], bool]:
    """Compute what is declared; how many, what failed, and whether it was stopped."""
    from gpuseg.pipeline._execute import RunError

    computed, failures = 0, []
    for each in runs:
        try:
            computed += each.execute()
        except RunError as error:
            failures.append(str(error))
            computed += error.computed
        except KeyboardInterrupt:
            return computed, failures, True
    return computed, failures, False


def script_failed(script: str, error: Exception) -> int:
    """Print what went wrong in a script, from its own first line on; returns the exit code.

    Raises
    ------
    UsageError
        If there is no script.
    """
    if isinstance(error, FileNotFoundError) and error.filename is None:
        raise UsageError(str(error)) from None
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != script:
        trace = trace.tb_next
    # An error of syntax has no line that ran.
    traceback.print_exception(error.with_traceback(trace), chain=trace is not None)
    return 1


def _say(text: str, code: int) -> int:
    print(f"gpuseg run: {text}", file=sys.stderr)
    return code
