"""`gpuseg demo`: the main job on the immunohistochemistry image that scikit-image ships."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from gpuseg.cli._parser import UsageError

_IMAGE = "immunohistochemistry.png"
_WHAT = {
    "--overlay": "to look at: the image beside its classes",
    "--table": "all numbers and parameters",
    "--labels": "label image (OME-Zarr 0.5) for napari and others",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Count brown (DAB) pixels of scikit-image's immunohistochemistry image, and write the\n"
        "table, the label image and the overlay that `gpuseg count` writes for any slide."
    )
    parser.add_argument(
        "--out", default="gpuseg-demo", metavar="FOLDER", help="default: %(default)s"
    )


def run(options: argparse.Namespace) -> int:
    """Write the image, run `gpuseg count` on it, and say what was written."""
    from gpuseg.cli import main
    from gpuseg.cli.ledger import Ledger
    from gpuseg.cli.rows import show

    folder = Path(options.out)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out must be a folder, got the file {str(folder)!r}")
    folder.mkdir(parents=True, exist_ok=True)
    image = folder / _IMAGE
    if not image.exists():
        _write_image(image)
    outputs = {
        "--labels": folder / "labels.zarr",
        "--overlay": folder / "overlay.png",
        "--table": folder / "table.csv",
    }
    words = ["count", str(image), "--preset", "dab"]
    for flag, path in outputs.items():
        words += [flag, str(path)]
    print(f"$ gpuseg {shlex.join(words)}", flush=True)
    code = main(words)
    if code:
        return code
    show(list(Ledger(outputs["--table"]).all_rows()), as_table=True)
    wide = max(len(str(path)) for path in outputs.values())
    for flag, what in _WHAT.items():
        print(f"{outputs[flag]!s:<{wide}}  {what}")
    return 0


def _write_image(path: Path) -> None:
    """Write the image without any loss. Cells of colon in brown, other nuclei in blue."""
    import skimage.data
    from PIL import Image

    from gpuseg.io.tables import replacing

    with replacing(path) as part:
        Image.fromarray(skimage.data.immunohistochemistry()).save(part)
