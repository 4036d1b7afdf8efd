"""A sheet of two panels with a title: what all pictures share.

Pillow draws it; it comes with scikit-image, and a text of its own at any size with it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

INK = (28, 30, 34)
_PAPER, _FAINT, _BORDER = (255, 255, 255), (118, 122, 130), (205, 208, 214)
_SPELLED = {"×": "x", "µ": "u", "μ": "u", "≥": ">=", "≤": "<=", "–": "-", "—": "-"}


class Sheet(NamedTuple):
    """A drawn sheet, and the box that is left below its panels; `size` is a letter's height."""

    image: Image.Image
    draw: Any
    left: int
    top: int
    right: int
    size: int


def sheet(
    panels: Sequence[Image.Image], title: str, subtitle: str, foot: Callable[[int, int], float]
) -> Sheet:
    """Panels side by side, or one above the other if they are wide, below a title.

    `foot` tells what height to leave below them, of the width and the size of letters.
    """
    from PIL import Image, ImageDraw

    wide = panels[0].width > 1.6 * panels[0].height
    gap = max(10, max(panels[0].size) // 60)
    across = panels[0].width * (1 if wide else 2) + gap * (2 if wide else 3)
    size = max(13, min(44, across // 52))
    room = across - 2 * gap
    head = round(3.4 * size) + gap
    down = panels[0].height * (2 if wide else 1) + gap * (1 if wide else 0)
    below = round(foot(room, size)) + 2 * gap
    page = Image.new("RGB", (across, head + down + below), _PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((gap, gap), fit(title, room, 1.3 * size), fill=INK, font=font(1.3 * size))
    draw.text((gap, gap + 1.8 * size), fit(subtitle, room, size), fill=_FAINT, font=font(size))
    x, y = gap, head
    for panel in panels:
        page.paste(panel, (x, y))
        # A border: slides are white at their edges, and so is the page.
        draw.rectangle((x - 1, y - 1, x + panel.width, y + panel.height), outline=_BORDER)
        x, y = (x, y + panel.height + gap) if wide else (x + panel.width + gap, y)
    return Sheet(page, draw, gap, head + down + gap, across - gap, size)


def scale_bar(panel: Image.Image, mpp: float) -> None:
    """Draw a bar of a round length, about a fifth of the panel, in its lower right corner."""
    from PIL import ImageDraw

    length = _round_length(panel.width * mpp / 4)
    pixels = round(length / mpp)
    text = drawable(f"{length:g} µm" if length < 1000 else f"{length / 1000:g} mm")
    draw = ImageDraw.Draw(panel)
    letters = font(max(12, panel.width // 40))
    margin = max(8, panel.width // 50)
    right, bottom = panel.width - margin, panel.height - margin
    box = draw.textbbox((0, 0), text, letters)
    wide = max(pixels, box[2] - box[0])
    top = bottom - (box[3] - box[1]) - 14
    draw.rectangle((right - wide - 8, top - 4, right + 8, bottom + 6), fill=_PAPER)
    draw.rectangle((right - pixels, bottom - 2, right, bottom + 1), fill=INK)
    draw.text((right - pixels / 2, bottom - 6), text, fill=INK, font=letters, anchor="ms")


def _round_length(most: float) -> float:
    """Largest of 1, 2 and 5 times a power of ten that is at most `most`."""
    power = 10.0 ** np.floor(np.log10(most))
    # 0.5 too: the logarithm of a number just below a power of ten is rounded up to it.
    return float(max(step * power for step in (0.5, 1, 2, 5) if step * power <= most))


def font(size: float) -> Any:
    """Pillow's own font."""
    from PIL import ImageFont

    return ImageFont.load_default(size=round(size))


def drawable(text: str) -> str:
    """Text with every character that Pillow's own font lacks spelled otherwise, or as `?`.

    That font has hardly more than ASCII, but it is there on every machine.
    """
    letters = font(20)
    lacking = bytes(letters.getmask("\uffff"))

    def has(character: str) -> bool:
        return character.isspace() or bytes(letters.getmask(character)) != lacking

    def spelled(character: str) -> str:
        base = unicodedata.normalize("NFKD", character)[0]
        return _SPELLED.get(character, base if has(base) else "?")

    return "".join(c if has(c) else spelled(c) for c in text)


def fit(text: str, room: int, size: float) -> str:
    """Text shortened in its middle until it is no wider than `room`."""
    letters = font(size)
    text = kept = drawable(text)
    cut = 0
    while letters.getlength(kept) > room and cut < len(text) - 4:
        cut += 1
        middle = (len(text) - cut) // 2
        kept = f"{text[:middle]}...{text[middle + cut :]}"
    return kept
