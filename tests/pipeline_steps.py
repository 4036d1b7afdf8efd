"""Steps of the pipeline's tests, and what calls them has left."""

from __future__ import annotations

from gpuseg.pipeline import step

calls: list[object] = []


@step
def shifted(image, by=1):
    calls.append(by)
    return image + by


@step(version="1")
def same(value):
    calls.append("same")
    return value
