"""argparse with one line per error, which names the nearest option."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

_NUMBERS = re.compile(r"-[\d.].*")


class UsageError(Exception):
    """Arguments that can't be worked with, found before any work started."""


# What the library raises on purpose; anything else is a defect and keeps its traceback.
EXPECTED = (OSError, ValueError, RuntimeError, ImportError, MemoryError)


def told(error: BaseException) -> str:
    """What went wrong, as a user reads it: the file first, and no number of an error.

    Examples
    --------
    >>> told(FileNotFoundError(2, "No such file or directory", "a.svs")), told(KeyError())
    ('a.svs: No such file or directory', 'KeyError')
    """
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and text.startswith("[Errno"):
        named = f"{error.filename}: " if isinstance(error.filename, str) else ""
        return f"{named}{error.strerror}"
    return text


def reason(name: str, error: BaseException) -> str:
    """Message about one slide, which names it once."""
    text = told(error).replace('on_error="skip"', "--on-error skip")
    text = text.removesuffix("; a function that reads it may be given as `imread`")
    return text if name in text else f"{name}: {text}"


class Parser(argparse.ArgumentParser):
    """Parser whose errors are one line and a hint instead of the whole usage."""

    def __init__(self, **named: Any) -> None:
        named.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        # An abbreviation that is clear today is ambiguous after the next release.
        named.setdefault("allow_abbrev", False)
        super().__init__(**named)

    def add_version(self) -> None:
        """Add `--version`, which looks the version up when it is asked for."""
        self.add_argument("--version", action=_Version, help="show the version and exit")

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse as argparse does, and take values that begin with a minus for what they are."""
        words = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(_join_negative(words), namespace)

    def error(self, message: str) -> NoReturn:
        """Print the error and exit with 2."""
        choice = re.match(r"argument .*: invalid choice: '(.*?)' \(choose from (.*)\)", message)
        if choice:
            near = _nearest(choice[1], re.findall(r"[\w.-]+", choice[2]))
            message = f"unknown choice {choice[1]!r}{near}; choose from {choice[2]}"
        print(
            f"{self.prog}: error: {message}\ntry '{self.prog} --help'",
            file=sys.stderr,
        )
        raise SystemExit(2)

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """Print which arguments are not known, with the nearest option, and exit with 2."""
        word = unknown[0]
        if word.startswith("-"):
            name = word.split("=")[0]
            self.error(f"unknown option {name}{_nearest(name, self._option_string_actions)}")
        self.error(f"one argument too many: {word!r}")


class _Version(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        import gpuseg

        print(f"gpuseg {gpuseg.__version__}")
        parser.exit()


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _join_negative(words: Sequence[str]) -> list[str]:
    """Turn `--region -1,-1,-1,-1` into `--region=-1,-1,-1,-1`.

    argparse takes `-1` for a number, but `-1,-1` for an option.
    """
    joined: list[str] = []
    for word in words:
        before = joined[-1] if joined else ""
        if _NUMBERS.fullmatch(word) and before.startswith("--") and "=" not in before:
            joined[-1] = f"{before}={word}"
        else:
            joined.append(word)
    return joined
