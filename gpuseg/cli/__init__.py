"""The command line: `gpuseg COMMAND …`; each command is a module of this package."""

from __future__ import annotations

import importlib
import io
import os
import sys
import warnings
from collections.abc import Sequence

from gpuseg.cli._parser import EXPECTED, Parser, UsageError, told

__all__ = ["main"]

# Command to module and summary. A command's module is imported when it is asked for, so that
# `gpuseg --help` needs neither NumPy nor rich.
_COMMANDS = {
    "count": ("count", "count positive pixels of slides into a table, label images, overlays"),
    "sweep": ("sweep", "count one slide under many parameters from its colour histogram"),
    "compare": ("compare", "compare label images with a gold standard"),
    "info": ("info", "say what is in a slide: levels, pixel size, properties"),
    "segment": ("segment", "find and measure the objects of images, by a recipe"),
    "recipes": ("recipes", "list the recipes of segment, or print one"),
    "run": ("run", "compute what a pipeline's script wants, beside others that do the same"),
    "runs": ("runs", "look at runs of pipelines: status, invalidate, cleanup, verify, graph"),
    "demo": ("demo", "count the immunohistochemistry image that scikit-image ships"),
    "PositivePixelCount": ("histomicstk", "count with HistomicsTK's own command line"),
}

_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        What follows `gpuseg`; default the process's arguments.

    Returns
    -------
    code : int
        0 done; 1 a slide or the whole command failed; 2 wrong arguments; 130 stopped by Ctrl-C.

    Examples
    --------
    >>> main(["count", "a.svs", "--hue-with", "0.2"])
    2
    """
    if argv is None:
        _open_streams()
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = next((word for word in arguments if not word.startswith("-")), None)
    name = f"gpuseg {command}" if command in _COMMANDS else "gpuseg"
    formatted = warnings.formatwarning
    # What a library would have a programmer know, as a user reads it: without file and line.
    warnings.formatwarning = lambda message, *_, **__: f"{name}: warning: {message}\n"
    try:
        code = _run(arguments, command)
        sys.stdout.flush()
        return code
    except SystemExit as exit:  # argparse, after help, a version or an error of its own
        return exit.code if isinstance(exit.code, int) else 0
    except UsageError as error:
        return _say(f"{name}: error: {error}", 2)
    except KeyboardInterrupt:
        return _say(f"{name}: stopped", _INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has left (`gpuseg info … | head`). Python would complain once
        # more when it flushes standard output at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except EXPECTED as error:
        return _say(f"{name}: error: {told(error)}", 1)
    finally:
        warnings.formatwarning = formatted


def _open_streams() -> None:
    """Make the process's streams take whatever is written, so that no result is lost at the end.

    A stream may be closed (`gpuseg count … >&-`), or have no letter for µ or for a file's name.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _say(message: str, code: int) -> int:
    print(message, file=sys.stderr)
    return code


def _run(arguments: list[str], command: str | None) -> int:
    parser = Parser(
        prog="gpuseg",
        description="Segment and measure biological images: slides, folders of images, volumes.",
        epilog="`gpuseg COMMAND --help` explains a command.",
    )
    parser.add_version()
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    chosen = None
    for name, (module, summary) in _COMMANDS.items():
        child = commands.add_parser(name, help=summary)
        if name == command:
            chosen = importlib.import_module(f"gpuseg.cli.{module}")
            chosen.add_arguments(child)
            child.set_defaults(parser=child)
    if command is None and not arguments:
        parser.print_help()
        return 0
    options, unknown = parser.parse_known_args(arguments)
    if chosen is None:
        parser.error("a command is needed, one of " + ", ".join(_COMMANDS))
    if unknown:
        options.parser.refuse(unknown)
    code: int = chosen.run(options)
    return code
