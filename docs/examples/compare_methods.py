"""Two methods on many images, each compared with references drawn by hand.

    gpuseg run compare_methods.py IMAGES REFERENCES RUN

Start it in as many shells, or on as many machines, as you like: they divide the images. Kill any
of them; start it again after adding images or changing a method: only what is new is computed.
"""

import sys
from pathlib import Path

import skimage.io

from gpuseg.compare import compare_labels
from gpuseg.filters import gaussian, threshold_otsu
from gpuseg.measure import label
from gpuseg.pipeline import Run, step


def read(path):
    image = skimage.io.imread(path)
    return image[..., 0] if image.ndim == 3 else image


@step(storage={"labels": True})
def method1(path, sigma):
    image = gaussian(read(path), sigma)
    return label(image > image.mean())[0]


@step(storage={"labels": True})
def method2(path, sigma):
    image = gaussian(read(path), sigma)
    return label(image > threshold_otsu(image))[0]


@step
def agreement(labels, reference):
    """Adjusted Rand index."""
    return compare_labels(read(reference), labels).adjusted_rand()


images, references, folder = map(Path, sys.argv[1:])
scores = {}
with Run(folder) as run:
    for image in sorted(images.iterdir()):
        reference = references / f"{image.stem}.png"
        scores[image.stem] = [
            agreement(method1(image, 2), reference),
            agreement(method2(image, 4), reference),
        ]
run.execute()
for name, both in scores.items():
    print(name, *(f"{score.get():.3f}" for score in both))
