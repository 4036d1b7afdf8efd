"""`gpuseg PositivePixelCount …`: HistomicsTK's own command line.

Order, names and defaults are those of HistomicsTK 1.4.0's PositivePixelCount.xml, and of the
`--returnparameterfile` that earlier releases had. What has no meaning here is refused by name.
"""

from __future__ import annotations

import argparse
import json
import os
import pprint
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuseg._shared.hsi import Output, Parameters
from gpuseg.cli._parser import UsageError
from gpuseg.cli.inputs import basename
from gpuseg.cli.options import check_dtype, check_region, parse_region
from gpuseg.cli.plan import refuse_foreign
from gpuseg.cli.progress import Progress
from gpuseg.io.tables import check_folder, replacing

if TYPE_CHECKING:
    from gpuseg._jobs.count_slide import SlideCount

_PYRAMIDS = (".zarr", ".tif", ".tiff")
# What Slicer's generated forms pass for options that nobody touched.
_UNTOUCHED = "{#control"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Count positive pixels with the arguments of HistomicsTK's PositivePixelCount."
    )
    parser.add_argument("inputImageFile", help="slide or image")
    for name, default in Parameters()._asdict().items():
        parser.add_argument(name, type=float, help=f"HistomicsTK's own default is {default:g}")
    parser.add_argument(
        "--region",
        default="-1,-1,-1,-1",
        help="left,top,width,height; x,y,z,rx,ry,rz; or x,y,x,y,… polygons with -1,-1 between "
        "them (default: the whole image)",
    )
    parser.add_argument(
        "--returnparameterfile",
        dest="returnParameterFile",
        metavar="FILE",
        help="write 'Name = value' lines to this file",
    )
    parser.add_argument(
        "--outputLabelImage",
        metavar="FILE",
        help="classes in HistomicsTK's colours, of the region alone: .tif, .tiff, .zarr or .png",
    )
    parser.add_argument(
        "--output_form",
        dest="outputImageForm",
        choices=("visible", "pixelmap"),
        default="visible",
        help="what a .png has: colours, or the numbers 0 to 3 (default: %(default)s); the other "
        "formats have both, numbers and a palette",
    )
    parser.add_argument(
        "--image_annotation",
        dest="outputAnnotationFile",
        metavar="FILE",
        help="write the annotation (JSON) that places the label image on the slide",
    )
    parser.add_argument("--frame", default="", help="only 0: a slide has one frame here")
    parser.add_argument("--style", default="", help="must be empty: pixels are taken as they are")
    parser.add_argument(
        "--scheduler",
        default="",
        help="a Dask scheduler's address, 'multiprocessing', 'multithreading' (default) or 'none'",
    )
    parser.add_argument("--num_workers", type=int, default=-1, help="-1 (default) is all")
    parser.add_argument("--num_threads_per_worker", type=int, default=1)
    parser.add_argument("--xml", action="store_true", help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    """Count, write what is asked for, and print the statistics as HistomicsTK does."""
    _refuse(options)
    params = _parameters(options)
    region = parse_region(options.region)
    check_region(region)
    label_file = options.outputLabelImage and _label_file(options)
    _check_folder("--returnparameterfile", options.returnParameterFile)
    _check_folder("--image_annotation", options.outputAnnotationFile)
    counted = _count(options, params, region, label_file)
    if label_file and counted.labels is None:
        _write_png(label_file, counted, colours=options.outputImageForm == "visible")
    if options.returnParameterFile:
        _write(Path(options.returnParameterFile), _lines(counted.total))
    if options.outputAnnotationFile:
        _write(Path(options.outputAnnotationFile), _annotation(options, region, counted))
    pprint.pprint(counted.total._asdict())
    return 0


def _count(
    options: argparse.Namespace, params: Parameters, region: Any, label_file: Path | None
) -> SlideCount:
    from gpuseg.cluster import connect
    from gpuseg.io import open_slide
    from gpuseg.positive_pixel_count import count_regions

    pyramid = label_file is not None and label_file.suffix.lower() in _PYRAMIDS
    with open_slide(options.inputImageFile) as slide, Progress(1) as progress:
        progress.slide(basename(options.inputImageFile))
        check_dtype(slide, params)
        with connect(**_running(options)) as cluster:
            return count_regions(
                slide,
                params,
                _whole_pixels(region, slide.shape[0], slide.shape[1]),
                labels=label_file if pyramid else None,
                label_image=label_file is not None and not pyramid,
                crop_labels=True,
                scheduler=cluster,
                progress=progress.update,
            )


def _parameters(options: argparse.Namespace) -> Parameters:
    try:
        return Parameters(*(getattr(options, name) for name in Parameters._fields)).validate()
    except ValueError as error:
        raise UsageError(str(error)) from None


def _whole_pixels(region: Any, height: int, width: int) -> Any:
    """Region as `count_regions` takes it; rectangles cut to whole pixels as HistomicsTK does.

    source: histomicstk 1.4.0, cli/utils.py, `get_region_dict`
    """
    if region == [-1] * 4:
        return None
    if not isinstance(region, list) or len(region) not in (4, 6):
        return region
    left, top, wide, tall = region[:4]
    if len(region) == 6:
        left, top = region[0] - region[3], region[1] - region[4]
        wide, tall = 2 * region[3], 2 * region[4]
    right, bottom = min(width, left + wide), min(height, top + tall)
    left, top = max(0, left), max(0, top)
    cut = [int(left), int(top), int(right - left), int(bottom - top)]
    # What has no pixel left gets its error where all regions get theirs.
    return cut if min(cut[2:]) > 0 else region


def _label_file(options: argparse.Namespace) -> Path:
    name = options.outputLabelImage
    path = Path(name)
    if path.suffix.lower() not in (*_PYRAMIDS, ".png"):
        raise UsageError(f"--outputLabelImage must end in .tif, .tiff, .zarr or .png, got {name!r}")
    if path.exists() and os.path.realpath(path) == os.path.realpath(options.inputImageFile):
        raise UsageError(f"--outputLabelImage would write over the image {name!r}")
    if path.suffix.lower() in _PYRAMIDS:
        refuse_foreign("--outputLabelImage", path)
    _check_folder("--outputLabelImage", name)
    return path


def _check_folder(option: str, name: str | None) -> None:
    if name:
        try:
            check_folder(Path(name))
        except OSError as error:
            raise UsageError(f"{option}: {error}") from None


def _write_png(path: Path, counted: SlideCount, *, colours: bool) -> None:
    from PIL import Image

    from gpuseg.io.label_pyramid import COLOURS

    assert counted.label_image is not None
    image = Image.fromarray(counted.label_image)
    if colours:
        image.putpalette([value for colour in COLOURS for value in colour])
    with replacing(path) as part:
        image.save(part)


def _lines(output: Output) -> str:
    known = {name: value for name, value in output._asdict().items() if value is not None}
    return "".join(f"{name} = {value}\n" for name, value in known.items())


def _annotation(options: argparse.Namespace, region: Any, counted: SlideCount) -> str:
    """Annotation of large_image that lays the label image over the slide."""
    import gpuseg

    hidden = ("command", "parser", "xml")
    params = {name: value for name, value in vars(options).items() if name not in hidden}
    top, left = counted.corner
    annotation = {
        "name": "Positive Pixel Count",
        "elements": [
            {
                "type": "image",
                "girderId": "outputLabelImage",
                "hasAlpha": False,
                "transform": {"xoffset": left, "yoffset": top},
            }
        ],
        "attributes": {
            "params": {**params, "region": region},
            "stats": counted.total._asdict(),
            "cli": "PositivePixelCount",
            "version": f"gpuseg {gpuseg.__version__}",
        },
    }
    return json.dumps(annotation, separators=(",", ":"))


def _write(path: Path, text: str) -> None:
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def _refuse(options: argparse.Namespace) -> None:
    """Refuse, by name, what would otherwise be ignored in silence."""
    frame, style = options.frame.strip(), options.style.strip()
    if not frame.startswith(_UNTOUCHED) and frame not in ("", "0"):
        raise UsageError(f"--frame must be 0, for a slide has one frame here; got {frame!r}")
    if not style.startswith(_UNTOUCHED) and style not in ("", "{}"):
        raise UsageError(f"--style must be empty, for pixels are taken as they are; got {style!r}")
    if options.xml:
        raise UsageError("--xml is not supported: there is no description for Slicer")
    if options.num_threads_per_worker < 1:
        raise UsageError(
            f"--num_threads_per_worker must be at least 1, got {options.num_threads_per_worker}"
        )


def _running(options: argparse.Namespace) -> dict[str, Any]:
    """HistomicsTK's scheduler and counts as arguments of `connect`.

    The defaults of both counts mean all cores, as do no counts at all; the numbers computed are
    the same with any.
    """
    workers, threads = options.num_workers, options.num_threads_per_worker
    named = options.scheduler
    if named == "none":
        return {"workers": 1}
    if named not in ("", "multithreading", "multiprocessing"):
        if (workers, threads) != (-1, 1):
            raise UsageError(
                "--num_workers and --num_threads_per_worker cannot be set for the running "
                f"scheduler {named!r}, got {workers} and {threads}"
            )
        local = named.endswith(".json") or "://" in named
        return {"scheduler": named if local else f"tcp://{named}"}
    count = _cores(workers)
    if named == "multiprocessing":
        return {
            "scheduler": "processes",
            "workers": count,
            "threads_per_worker": None if threads == 1 else threads,
        }
    if count is None and threads == 1:
        return {}
    return {"workers": (count or 1) * threads}


def _cores(workers: int) -> int | None:
    from gpuseg._backend import threads

    if workers == -1:
        return None
    return workers if workers > 0 else max(1, threads() + workers)
