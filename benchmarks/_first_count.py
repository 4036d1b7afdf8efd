"""One count of a slide in a process of its own: `python -m benchmarks._first_count WHO BIG SMALL`.

Imports, compiling and loading compiled code are not timed: SMALL is counted first. What is timed is
the first count of BIG in this process, as users make it. In a process that has counted the slide
before, large_image still holds a part of its tiles; and once any code there has freed an array of
32 MB, glibc no longer gives memory back between HistomicsTK's tiles, which then takes three
quarters of the time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

WORKERS = 2
PARAMS = (0.05, 0.15, 0.05, 0.95, 0.65, 0.35, 0.05)


def first_count(who: str, slide: Path, small: Path) -> dict[str, Any]:
    """Seconds, counts and reader of `who` ("gpuseg" or "HistomicsTK")."""
    command = [sys.executable, "-m", "benchmarks._first_count", who, str(slide), str(small)]
    root = Path(__file__).parent.parent
    finished = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return answer


def _main(who: str, slide: str, small: str) -> dict[str, Any]:
    if who == "gpuseg":
        from gpuseg import positive_pixel_count as module
        from gpuseg.io import open_slide

        options: dict[str, Any] = {"workers": WORKERS}
        source = repr(open_slide(slide)).splitlines()[1].split(", ")[1]
    else:
        import large_image
        from histomicstk.segmentation import positive_pixel_count as module

        options = {}
        source = type(large_image.open(small)).__name__
    params = module.Parameters(*PARAMS)
    module.count_slide(small, params, **options)
    start = time.perf_counter()
    counted = module.count_slide(slide, params, **options)[0]
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "counts": [int(n) for n in counted[:4]], "source": source}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(_main(*sys.argv[1:])))
