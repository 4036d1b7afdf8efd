"""Make docs/images/napari.jpg: the sample, its positive pixels, a recipe's nuclei, both widgets.

Needs `pip install ".[napari]"` and a screen: `xvfb-run -s "-screen 0 1440x900x24" python
ci/picture_of_napari.py` where there is none. Qt's "offscreen" platform has no OpenGL.
"""

from __future__ import annotations

import sys
from pathlib import Path

import napari
from PIL import Image
from qtpy.QtWidgets import QApplication

from gpuseg import _napari, viewer
from gpuseg import positive_pixel_count as ppc

OUT = Path(__file__).resolve().parent.parent / "docs" / "images" / "napari.jpg"


def main(out: Path) -> None:
    window = napari.Viewer(show=False)
    window.window.resize(1400, 860)
    ((image, _, _),) = _napari.immunohistochemistry()
    (layer,) = viewer.add(window, image, name="immunohistochemistry", scale=0.5)
    layer.units = ("micrometer", "micrometer")
    found, options, _ = _napari.classify(layer, **ppc.Parameters(hue_value=0.05)._asdict())
    window.add_labels(found, **{**options, "opacity": 0.35})
    nuclei, options, _ = _napari.segment(layer, "ihc_nuclei")
    window.add_labels(nuclei, **options).contour = 2
    for name, make in (
        ("Positive pixels", _napari.positive_pixels),
        ("Segment by a recipe", _napari.recipe),
    ):
        window.window.add_dock_widget(make(), name=name, area="right")
    window.scale_bar.visible = True
    window.show()
    for _ in range(50):
        QApplication.processEvents()
    window.reset_view()
    for _ in range(50):
        QApplication.processEvents()
    shot = window.screenshot(canvas_only=False, flash=False)
    Image.fromarray(shot[..., :3]).save(out, quality=80, optimize=True)
    window.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else OUT)
