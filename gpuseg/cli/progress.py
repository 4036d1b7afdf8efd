"""How far the work is: a bar on a terminal, a line every few seconds in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from contextvars import Token

    from gpuseg.pipeline._watch import Standing

# Often enough to see that it lives, seldom enough for the log of a night.
_EVERY_S = 5.0


class Progress:
    """Context manager that shows the progress over some slides.

    `update` is the callback that counting takes; `say` prints a line that stays.
    """

    def __init__(
        self,
        slides: int,
        *,
        show: bool = True,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._slides = slides
        self._stream = stream or sys.stderr
        self._clock = clock
        self._show = show
        self._number, self._name = 0, ""
        self._said_at = clock()
        self._began, self._first = clock(), 0
        self._done = self._total = 0
        self._bar: Any = None
        self._tasks: list[Any] = []

    def __enter__(self) -> Progress:
        """Begin to show."""
        if self._show and self._stream.isatty():
            self._bar, self._tasks = _bar(self._stream, self._slides)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def skip(self, slides: int) -> None:
        """Pass over slides that need no counting."""
        self._number += slides

    def slide(self, name: str) -> None:
        """Begin the next slide."""
        self._number += 1
        self._name = name
        self._began, self._first = self._clock(), -1
        self._done = self._total = 0
        if self._bar is not None:
            overall, current = self._tasks
            self._bar.update(overall, completed=self._number - 1)
            self._bar.reset(current, description=_short(name), total=None)

    def update(self, done: int, total: int, pixels: int, all_pixels: int) -> None:
        """Take in that `done` of `total` boxes and `pixels` of `all_pixels` are counted."""
        if self._first < 0:  # what a former run has left is no part of this one's speed
            self._first = pixels
        self._done, self._total = pixels, all_pixels
        if self._bar is not None:
            self._bar.update(self._tasks[1], total=all_pixels, completed=pixels)
            if done == total:  # coarse levels and the overlay are still to be made
                self._bar.update(self._tasks[1], description=f"finishing {_short(self._name)}")
        elif self._show and done < total and self._clock() - self._said_at >= _EVERY_S:
            self._said_at = self._clock()
            print(self._line(), file=self._stream, flush=True)

    def say(self, text: str) -> None:
        """Print a line that stays, above the bar."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self._stream, flush=True)

    def _line(self) -> str:
        took = self._clock() - self._began
        speed = (self._done - self._first) / took if took > 0 else 0.0
        words = [time.strftime("%H:%M:%S")]
        if self._slides > 1:
            words.append(f"slide {self._number} of {self._slides}")
        share = self._done / self._total if self._total else 0.0
        words += [
            self._name,
            f"{share:.0%}",
            f"{_millions(self._done)} of {_millions(self._total)} Mpx",
            f"{_millions(speed)} Mpx/s",
        ]
        if speed > 0:
            words.append(f"{duration((self._total - self._done) / speed)} left")
        return "  ".join(words)


class Images:
    """Context manager that shows how many images are done; `say` prints a line that stays."""

    def __init__(
        self,
        total: int,
        *,
        show: bool = True,
        stream: TextIO | None = None,
        what: str = "images",
    ) -> None:
        self._total, self._done, self._what = total, 0, what
        self._stream = stream or sys.stderr
        self._show = show
        self._began = self._said_at = time.monotonic()
        self._skipped = 0
        self._bar: Any = None

    def __enter__(self) -> Images:
        """Begin to show."""
        if self._show and self._stream.isatty():
            self._bar = _images_bar(self._stream)
            self._task = self._bar.add_task(self._what, total=self._total)
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def skip(self, images: int) -> None:
        """Pass over images that are done."""
        self._done += images
        self._skipped += images
        self._moved()

    def add(self) -> None:
        """One more is done."""
        self._done += 1
        self._moved()

    def say(self, text: str) -> None:
        """Print a line that stays, above the bar."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self._stream, flush=True)

    def _moved(self) -> None:
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done)
        elif self._show and self._done < self._total and now - self._said_at >= _EVERY_S:
            self._said_at = now
            speed = (self._done - self._skipped) / (now - self._began)
            left = f"  {duration((self._total - self._done) / speed)} left" if speed else ""
            words = f"{self._done} of {self._total} {self._what}  {speed:.2g} {self._what}/s{left}"
            print(f"{time.strftime('%H:%M:%S')}  {words}", file=self._stream, flush=True)


class Results:
    """Context manager that shows which result of a run is being computed, and how far that is.

    What nothing has to be computed for shows nothing.
    """

    def __init__(self, *, show: bool = True, stream: TextIO | None = None) -> None:
        self._show, self._stream = show, stream or sys.stderr
        self._said_at = time.monotonic()
        self._bar: Any = None
        self._token: Token[Any] | None = None

    def __enter__(self) -> Results:
        """Begin to look on."""
        from gpuseg.pipeline._watch import watcher

        if self._show:
            self._token = watcher.set(self.update)
        return self

    def __exit__(self, *error: object) -> None:
        """Take the bar away."""
        from gpuseg.pipeline._watch import watcher

        if self._token is not None:
            watcher.reset(self._token)
        if self._bar is not None:
            self._bar.stop()

    def update(self, now: Standing) -> None:
        """Take in what is computed now."""
        words = [f"{now.done} of {now.total} results"]
        if now.all_chunks:
            words.insert(0, f"{now.chunks} of {now.all_chunks} chunks")
        if self._stream.isatty():
            if self._bar is None:
                self._bar = _results_bar(self._stream)
                self._bar.add_task("", words="")
                self._bar.start()
            part = now.chunks / now.all_chunks if now.all_chunks else 0.0
            (task,) = self._bar.task_ids
            told = {"description": _short(now.doing), "words": ", ".join(words)}
            self._bar.update(task, completed=now.done + part, total=now.total, **told)
        elif time.monotonic() - self._said_at >= _EVERY_S:
            self._said_at = time.monotonic()
            line = "  ".join([time.strftime("%H:%M:%S"), now.doing, *words])
            print(line, file=self._stream, flush=True)


def duration(seconds: float) -> str:
    """Duration for the eye.

    Examples
    --------
    >>> duration(0.05), duration(48.2), duration(700), duration(7260)
    ('0.1 s', '48 s', '11 min 40 s', '2 h 1 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _millions(number: float) -> str:
    return f"{number / 1e6:,.0f}" if number >= 1e7 else f"{number / 1e6:.1f}"


def _short(name: str, most: int = 40) -> str:
    return name if len(name) <= most else "…" + name[-(most - 1) :]


def _bar(stream: TextIO, slides: int) -> tuple[Any, list[Any]]:
    """Rich's bar and its two tasks: the slides, and the pixels of the present one."""
    from rich.console import Console
    from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar
    from rich.text import Text

    class Speed(ProgressColumn):
        """Megapixels per second."""

        def render(self, task: Task) -> Text:
            if "pixels" not in task.fields or not task.speed:
                return Text("")
            return Text(f"{task.speed / 1e6:,.0f} Mpx/s", style="cyan")

    bar = Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        Speed(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=Console(file=stream),
        transient=True,
    )
    # One slide needs no bar for the slides.
    overall = bar.add_task("slides", total=slides, visible=slides > 1)
    return bar, [overall, bar.add_task("", total=None, pixels=True)]


def _images_bar(stream: TextIO) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    return Bar(*columns, console=Console(file=stream), transient=True)


def _results_bar(stream: TextIO) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[words]}", markup=False),
        TimeElapsedColumn(),
    )
    # What a script prints goes above the bar, but into a file if that is where it is to go.
    to_terminal = sys.stdout.isatty()
    console = Console(file=stream)
    return Bar(*columns, console=console, transient=True, redirect_stdout=to_terminal)
