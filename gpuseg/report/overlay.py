"""A picture of what was counted: the slide beside the slide with its classes in colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gpuseg.report._sheet import INK, font, scale_bar, sheet

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["COLOURS", "NAMES", "blend", "percent", "picture"]

# Yellow, orange and red for 1+, 2+ and 3+, as pathologists know them from QuPath. HistomicsTK's
# blue, light grey and red are kept for label files; over a grey slide its grey is not seen.
NAMES = ("weak", "plain", "strong")
COLOURS = ((255, 214, 64), (250, 128, 30), (200, 12, 40))

_OUTLINE = (0, 92, 190)
_SPACE = 3.0  # a legend entry's swatch and distances, in letter heights


def blend(
    image: NDArray[np.uint8], shares: NDArray[np.float32], opacity: float = 0.85
) -> NDArray[np.uint8]:
    """Lay the colours of the classes over a grey, lightened image.

    Parameters
    ----------
    image : (H, W, 3 or 4) uint8
        RGB; a fourth channel is ignored.
    shares : (H, W, 3) float32
        As from `Coverage.shares`.
    opacity : float
        How much of the image a pixel that is one class throughout hides, in [0, 1].

    Returns
    -------
    blended : (H, W, 3) uint8

    Raises
    ------
    ValueError
        If the shapes differ, or `opacity` is outside [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> shares = np.zeros((1, 2, 3), np.float32)
    >>> shares[0, 1, 2] = 1
    >>> blend(np.full((1, 2, 3), 255, np.uint8), shares, opacity=1.0)
    array([[[255, 255, 255],
            [200,  12,  40]]], dtype=uint8)
    """
    if shares.shape != (*image.shape[:2], len(NAMES)):
        raise ValueError(
            f"shares must be of shape {(*image.shape[:2], len(NAMES))}, got {shares.shape}"
        )
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must be within [0, 1], got {opacity}")
    luminance = image[..., :3].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    # Lightened, so that dark nuclei don't compete with the colours; those are shaded with what
    # is below them, for a flat colour would hide the tissue that one wants to check.
    grey = (255 - (255 - luminance) * np.float32(0.6))[..., None]
    shade = (luminance * np.float32(0.6 / 255) + np.float32(0.65)).clip(0, 1)[..., None]
    cover = shares.sum(axis=-1, keepdims=True) * np.float32(opacity)
    colour = shares @ np.array(COLOURS, np.float32) * shade * np.float32(opacity)
    return (grey * (1 - cover) + colour + np.float32(0.5)).astype(np.uint8)


def picture(
    image: NDArray[np.uint8],
    shares: NDArray[np.float32],
    counts: Mapping[str, int],
    *,
    title: str,
    subtitle: str = "",
    mpp: float | None = None,
    outlines: Sequence[NDArray[np.float64]] = (),
) -> Image.Image:
    """Draw the image beside the coloured one, with a legend that says how much of each class.

    Parameters
    ----------
    image : (H, W, 3 or 4) uint8
        The slide at the picture's scale.
    shares : (H, W, 3) float32
        As from `Coverage.shares`.
    counts : mapping
        Exact number of pixels by name (of `NAMES`) and "total", for the legend.
    title, subtitle : str
        Written above.
    mpp : float, optional
        Micrometres per pixel of `image`; draws a scale bar.
    outlines : sequence of (N, 2) float64
        Rings, x and y in pixels of `image`, drawn over both panels.

    Returns
    -------
    picture : PIL.Image.Image
        RGB.

    Raises
    ------
    ValueError
        If the shapes differ or `counts` lacks "total".
    """
    from PIL import Image

    if "total" not in counts:
        raise ValueError(f"counts must have 'total', got {sorted(counts)}")
    panels = [
        _outlined(np.ascontiguousarray(image[..., :3]), outlines),
        _outlined(blend(image, shares), outlines),
    ]
    height, width = image.shape[:2]
    # A small image is enlarged by whole steps, so that the text beside it has room to be read.
    enlarge = max(1, 480 // max(width, height))
    panels = [p.resize((width * enlarge, height * enlarge), Image.Resampling.BOX) for p in panels]
    if mpp is not None:
        for panel in panels:
            scale_bar(panel, mpp / enlarge)
    return _page(panels, counts, title, subtitle)


def _outlined(pixels: NDArray[np.uint8], outlines: Sequence[NDArray[np.float64]]) -> Image.Image:
    from PIL import Image, ImageDraw

    panel = Image.fromarray(pixels)
    draw = ImageDraw.Draw(panel)
    for ring in outlines:
        corners = [(float(x), float(y)) for x, y in ring]
        draw.line([*corners, corners[0]], fill=_OUTLINE, width=2)
    return panel


def _page(
    panels: Sequence[Image.Image], counts: Mapping[str, int], title: str, subtitle: str
) -> Image.Image:
    """Panels with their legend below."""
    entries = _entries(counts)
    lines: list[list[_Entry]] = []

    def foot(room: int, size: int) -> float:
        lines.extend(_flow(entries, room, size))
        return (1.4 + 1.7 * len(lines)) * size

    page = sheet(panels, title, subtitle, foot)
    _bar(page.draw, (page.left, page.top, page.right, page.top + page.size), counts)
    _legend(page.draw, lines, (page.left, round(page.top + 1.7 * page.size)), page.size)
    return page.image


def _bar(draw: Any, box: tuple[int, int, int, int], counts: Mapping[str, int]) -> None:
    """Draw a bar divided as the pixels are."""
    left, top, right, bottom = box
    draw.rectangle(box, fill=(236, 238, 241))
    x = float(left)
    for name, colour in zip(NAMES, COLOURS, strict=True):
        wide = (right - left) * counts.get(name, 0) / max(1, counts["total"])
        if wide >= 0.5:
            draw.rectangle((x, top, x + wide, bottom), fill=colour)
        x += wide


_Entry = tuple[str, tuple[int, int, int] | None]


def _entries(counts: Mapping[str, int]) -> list[_Entry]:
    total = counts["total"]
    entries: list[_Entry] = [
        (f"{name} {percent(counts[name], total)}", colour)
        for name, colour in zip(NAMES, COLOURS, strict=True)
        if name in counts
    ]
    positive = sum(counts.get(name, 0) for name in NAMES)
    return [*entries, (f"positive {percent(positive, total)} of {total:,} pixels", None)]


def _flow(entries: Sequence[_Entry], room: int, size: int) -> list[list[_Entry]]:
    """Lines of entries, each line as long as the room allows."""
    letters = font(size)
    lines: list[list[_Entry]] = [[]]
    left = float(room)
    for entry in entries:
        wide = letters.getlength(entry[0]) + _SPACE * size
        if lines[-1] and wide > left:
            lines.append([])
            left = room
        lines[-1].append(entry)
        left -= wide
    return lines


def _legend(draw: Any, lines: list[list[_Entry]], place: tuple[int, int], size: int) -> None:
    letters = font(size)
    for row, line in enumerate(lines):
        x, y = float(place[0]), place[1] + 1.7 * size * row
        for text, colour in line:
            if colour is not None:
                draw.rectangle((x, y, x + size, y + size), fill=colour)
                x += 1.4 * size
            draw.text((x, y + 0.5 * size), text, fill=INK, font=letters, anchor="lm")
            x += letters.getlength(text) + (_SPACE - 1.4) * size


def percent(count: int, total: int) -> str:
    """Percentage with three digits that count, for the eye.

    Examples
    --------
    >>> percent(1, 3), percent(1, 12345), percent(0, 5), percent(1, 10**9), percent(3, 3)
    ('33.3 %', '0.0081 %', '0 %', '<0.0001 %', '100 %')
    """
    share = 100 * count / max(1, total)
    if count == 0 or count == total:
        return f"{share:.0f} %"
    if share < 1e-4:
        return "<0.0001 %"
    if share > 99.9:
        return ">99.9 %"
    return f"{share:.1f} %" if share >= 10 else f"{float(f'{share:.3g}'):g} %"
