"""Every way of naming regions, against large_image and HistomicsTK, and what is refused."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from region_masks import mask, masks
from scipy.ndimage import binary_dilation, binary_erosion

from gpuseg.io.regions import Region, as_regions

SLIDE = {"slide_shape": (3000, 2000), "mpp": (0.5, 0.25), "magnification": 40.0}


# -- units: large_image -------------------------------------------------------------------------

# Made with large_image 1.35.6 for a slide of width 2000 and height 3000 (x 0.25 µm, y 0.5 µm, 40×).
LARGE_IMAGE = [
    ({"left": 100, "top": 200, "width": 300, "height": 400}, (100, 200, 400, 600)),
    ({"left": 100, "right": 300, "width": 999}, (100, 0, 300, 3000)),
    ({"right": 300, "width": 100, "bottom": 50}, (200, 0, 300, 50)),
    ({"left": -100, "top": -50}, (1900, 2950, 2000, 3000)),
    ({"left": -100, "right": -20, "bottom": -1}, (1900, 0, 1980, 2999)),
    ({"left": 1900, "width": 500, "top": 2990, "height": 100}, (1900, 2990, 2000, 3000)),
    ({"left": 10.5, "top": 11.5, "right": 20.5, "bottom": 21.4}, (10, 12, 20, 21)),
    ({"left": 0.25, "top": 0.5, "width": 0.5, "units": "fraction"}, (500, 1500, 1500, 3000)),
    ({"left": 0.1, "top": 0.1, "right": 0.2, "height": 0.3, "units": "mm"}, (400, 200, 800, 800)),
    ({"left": 10, "top": 10, "width": 100, "height": 50, "units": "um"}, (40, 20, 440, 120)),
    ({"left": 7, "top": 8, "width": 90, "height": 100, "units": "mag_pixels"}, (7, 8, 97, 108)),
    (
        {"left": 7, "width": 90, "height": 100, "units": "pixels", "magnification": 10},
        (28, 0, 388, 400),
    ),
    (
        {"left": 5, "width": 0.1, "right": 9, "units": "base", "unitsWH": "fraction"},
        (5, 0, 205, 3000),
    ),
]


@pytest.mark.parametrize(("spec", "expected"), LARGE_IMAGE)
def test_dictionary_means_what_large_image_says(spec, expected):
    (region,) = as_regions(spec, **SLIDE)
    assert region.bounds == expected


def large_image_bounds(spec):
    """Bounds as large_image finds them, from its own code."""
    tilesource = pytest.importorskip("large_image.tilesource")

    class Source(tilesource.TileSource):
        levels = 5

        def __init__(self):
            pass

        def getNativeMagnification(self):
            return {"magnification": 40.0, "mm_x": 0.00025, "mm_y": 0.0005}

    source, spec = Source(), dict(spec)
    wanted = spec.pop("magnification", None)
    level = source.getLevelForMagnification(wanted, rounding=None)
    return source._getRegionBounds(
        {"sizeX": 2000, "sizeY": 3000},
        desiredMagnification=source.getMagnificationForLevel(level),
        **spec,
    )


@pytest.mark.parametrize(("spec", "expected"), LARGE_IMAGE)
def test_expected_bounds_are_large_images(spec, expected):
    assert large_image_bounds(spec) == expected


def dictionaries():
    values = {"base_pixels": 2500, "mm": 1.5, "fraction": 1.5, "pixels": 1200, "um": 900}

    def of(units):
        side = st.floats(-values[units], values[units], allow_subnormal=False)
        keys = dict.fromkeys(("left", "top", "right", "bottom", "width", "height"), side)
        magnification = {"magnification": st.sampled_from([5, 10, 20, 39.5, 80])}
        return st.fixed_dictionaries({"units": st.just(units)}, optional={**keys, **magnification})

    return (
        st.sampled_from(sorted(values))
        .flatmap(of)
        .filter(lambda spec: spec.keys() - {"units", "magnification"})
    )


@settings(max_examples=200, deadline=None)
@given(dictionaries())
def test_random_dictionaries_against_large_image(spec):
    left, top, right, bottom = large_image_bounds(spec)
    if left < right and top < bottom:
        assert as_regions(spec, **SLIDE)[0].bounds == (left, top, right, bottom)
    else:
        with pytest.raises(ValueError, match="no pixel in the slide"):
            as_regions(spec, **SLIDE)


# -- lists: HistomicsTK's command line -----------------------------------------------------------

LISTS = [
    (10, 20, 30, 40),
    (50, 60, 0, 20, 10, 0),
    (10, 10, 50, 12, 40, 70, 12, 60),
    (10, 10, 90, 10, 90, 90, 10, 90, -1, -1, 30, 30, 60, 30, 60, 60, 30, 60),
    (10, 10, 90, 10, 90, 90, 10, 90, 10, 10, -1, -1, 30, 30, 60, 30, 60, 60, 30, 30, -1, -1),
    (10, 10, 10, 10, 90, 10, 90, 90, 10, 90),
]


@pytest.mark.parametrize("numbers", LISTS)
def test_lists_mean_what_histomicstk_says(numbers):
    utils = pytest.importorskip("histomicstk.cli.utils")
    polygons = utils.get_region_polygons(list(numbers))
    theirs = utils.polygons_to_binary_mask(polygons, 0, 0, 100, 100)
    (region,) = as_regions(numbers, slide_shape=(100, 100))
    ours = mask(region.rings, 100, 100)
    # Pillow, which paints them, also takes pixels that an outline merely touches.
    disagree = ours ^ theirs
    around = np.ones((3, 3))
    assert not (disagree & binary_erosion(ours, around)).any()
    assert not (disagree & ~binary_dilation(ours, around)).any()


def test_list_forms():
    assert as_regions((10, 20, 30, 40), **SLIDE)[0].bounds == (10, 20, 40, 60)
    assert as_regions([-1, -1, -1, -1], **SLIDE)[0].bounds == (0, 0, 2000, 3000)
    assert as_regions((50, 60, 0, 20, 10, 0), **SLIDE)[0].bounds == (30, 50, 70, 70)
    (hole,) = as_regions(LISTS[3], **SLIDE)
    assert mask(hole.rings, 100, 100).sum() == 80 * 80 - 30 * 30
    # A hole in a hole is inside again.
    (nested,) = as_regions((*LISTS[3], -1, -1, 40, 40, 50, 40, 50, 50, 40, 50), **SLIDE)
    assert len(nested.rings) == 3
    points = as_regions([(1, 1), (9, 1), (5, 9)], **SLIDE)[0]
    assert (
        points.rings[0].tolist()
        == as_regions(np.array([(1, 1), (9, 1), (5, 9)]), **SLIDE)[0].rings[0].tolist()
    )


def test_overhang_is_cropped_by_the_box():
    (region,) = as_regions((-10, -10, 25, 20), slide_shape=(100, 100))
    assert mask(region.rings, 100, 100).sum() == 15 * 10


@pytest.mark.parametrize("radius", [0.8, 5, 300, 20_000])
def test_ellipse_keeps_within_a_hundredth_of_a_pixel(radius):
    (region,) = as_regions({"ellipse": (0, 0, radius, radius)}, slide_shape=(50_000, 50_000))
    middles = (region.rings[0] + np.roll(region.rings[0], 1, axis=0)) / 2
    assert np.hypot(*middles.T).min() > radius - 0.0101
    assert len(region.rings[0]) < 3200


def test_ellipse_area():
    (region,) = as_regions({"ellipse": (60, 50, 50, 30), "name": "e"}, slide_shape=(200, 200))
    assert region.name == "e"
    assert mask(region.rings, 200, 200).sum() == pytest.approx(np.pi * 50 * 30, rel=2e-3)


# -- files ---------------------------------------------------------------------------------------

SQUARE = [[0, 0], [80, 0], [80, 80], [0, 80], [0, 0]]
HOLE = [[20, 20], [40, 20], [40, 40], [20, 40], [20, 20]]
QUPATH = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "id": "1e2f",
            "geometry": {"type": "Polygon", "coordinates": [SQUARE, HOLE]},
            "properties": {
                "objectType": "annotation",
                "name": "core 7 – ☂",
                "classification": {"name": "Tumor", "color": [200, 0, 0]},
                "isLocked": False,
            },
        },
        {
            "type": "Feature",
            "geometry": {
                "type": "MultiPolygon",
                "coordinates": [[[[x + dx, y] for x, y in HOLE]] for dx in (0, 100)],
            },
            "properties": {"objectType": "annotation", "classification": {"names": ["A", "b"]}},
        },
        {
            "type": "Feature",
            "geometry": {
                "type": "GeometryCollection",
                "geometries": [{"type": "Polygon", "coordinates": [[[*p, 5] for p in SQUARE]]}],
            },
            "properties": None,
        },
    ],
}


@pytest.mark.parametrize("form", ["dict", "text", "path", "gzip", "bom", "list"])
def test_geojson_of_qupath(form, tmp_path):
    text = json.dumps(QUPATH, ensure_ascii=False)
    path = tmp_path / "regions.geojson"
    spec = {"dict": QUPATH, "text": text, "list": json.dumps(QUPATH["features"])}.get(form, path)
    if form == "gzip":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8-sig" if form == "bom" else "utf-8")
    regions = as_regions(spec, **SLIDE)
    assert [region.name for region in regions] == ["core 7 – ☂", "region 2", "region 3"]
    assert [region.classification for region in regions] == ["Tumor", "A: b", None]
    areas = masks([region.rings for region in regions], 200, 200).sum(axis=(1, 2))
    assert areas.tolist() == [80 * 80 - 20 * 20, 2 * 20 * 20, 80 * 80]


ASAP = """<?xml version="1.0"?>
<ASAP_Annotations>
  <Annotations>
    <Annotation Name="Annotation 0" Type="Polygon" PartOfGroup="Tumor" Color="#F4FA58">
      <Coordinates>
        <Coordinate Order="1" X="30" Y="10.5" /><Coordinate Order="0" X="10" Y="10.5" />
        <Coordinate Order="3" X="10" Y="20.5" /><Coordinate Order="2" X="30" Y="20,5" />
      </Coordinates>
    </Annotation>
    <Annotation Name="Annotation 0" Type="Spline" PartOfGroup="None" Color="#F4FA58">
      <Coordinates>
        <Coordinate Order="0" X="0" Y="0" /><Coordinate Order="1" X="8" Y="0" />
        <Coordinate Order="2" X="0" Y="8" />
      </Coordinates>
    </Annotation>
  </Annotations>
  <AnnotationGroups><Group Name="Tumor" PartOfGroup="None" Color="#64FE2E" /></AnnotationGroups>
</ASAP_Annotations>"""


def test_points_and_lines_among_regions_are_left_out_with_a_warning(tmp_path):
    def feature(kind, coordinates):
        geometry = {"type": kind, "coordinates": coordinates}
        return {"type": "Feature", "properties": {}, "geometry": geometry}

    features = [
        feature("Point", [1, 2]),
        feature("Polygon", [SQUARE]),
        feature("LineString", SQUARE),
        feature("MultiPoint", SQUARE),
        feature("Point", [3, 4]),
    ]
    message = (
        "4 of 5 annotations have no area and are left out: 2 Point, 1 LineString, 1 MultiPoint"
    )
    for document in ({"type": "FeatureCollection", "features": features}, features):
        path = tmp_path / "a.geojson"
        path.write_text(json.dumps(document))
        with pytest.warns(UserWarning, match=message):
            assert len(as_regions(path, **SLIDE)) == 1
    circle = {"type": "circle", "center": [50, 60, 0], "radius": 10}
    elements = [{"type": "point", "center": [1, 2, 0]}, circle]
    with pytest.warns(UserWarning, match="1 of 2 annotations .*: 1 point"):
        assert len(as_regions({"elements": elements}, **SLIDE)) == 1
    (tmp_path / "a.xml").write_text(ASAP.replace('Type="Spline"', 'Type="Dot"'))
    with pytest.warns(UserWarning, match="1 of 2 annotations .*: 1 Dot"):
        assert len(as_regions(tmp_path / "a.xml", **SLIDE)) == 1


def test_asap(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text(ASAP)
    first, second = as_regions(path, **SLIDE)
    assert (first.name, first.classification) == ("Annotation 0", "Tumor")
    assert (second.name, second.classification) == ("Annotation 0", None)
    assert first.rings[0].tolist() == [[10, 10.5], [30, 10.5], [30, 20.5], [10, 20.5]]
    assert mask(first.rings, 50, 50).sum() == 200


def test_histomicsui():
    elements = [
        {
            "type": "polyline",
            "closed": True,
            "points": [[*p, 0] for p in SQUARE],
            "holes": [[[*p, 0] for p in HOLE]],
            "label": {"value": "outline"},
            "group": "stroma",
        },
        {
            "type": "rectangle",
            "center": [50, 60, 0],
            "width": 20,
            "height": 40,
            "rotation": np.pi / 2,
        },
        {"type": "ellipse", "center": [50, 60, 0], "width": 20, "height": 40},
        {"type": "circle", "center": [50, 60, 0], "radius": 10},
    ]
    regions = as_regions({"annotation": {"name": "x", "elements": elements}}, **SLIDE)
    assert (regions[0].name, regions[0].classification) == ("outline", "stroma")
    assert np.allclose(regions[1].bounds, (30, 50, 70, 70))
    areas = masks([region.rings for region in regions], 200, 200).sum(axis=(1, 2))
    assert areas[:2].tolist() == [80 * 80 - 20 * 20, 800]
    assert areas[2:] == pytest.approx([np.pi * 200, np.pi * 100], rel=0.01)
    with pytest.raises(ValueError, match=r"element 1: .*needs an area, got 'point'"):
        as_regions({"elements": [{"type": "point", "center": [1, 2, 0]}]}, **SLIDE)
    with pytest.raises(ValueError, match="circle lacks 'radius'"):
        as_regions({"type": "circle", "center": [1, 2, 0]}, **SLIDE)


def test_coarser_level_divides_coordinates():
    (region,) = as_regions((100, 200, 300, 400), **SLIDE, downsample=4)
    assert region.bounds == (25, 50, 100, 150)


def test_lists_of_regions_and_regions_themselves(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text(ASAP)
    mixed = as_regions([(0, 0, 9, 9), {"left": 5, "name": "rest"}, path, QUPATH], **SLIDE)
    assert [region.name for region in mixed[:3]] == ["region 1", "rest", "Annotation 0"]
    assert len(mixed) == 7
    again = as_regions(mixed, **SLIDE, downsample=2)
    assert all(a is b for a, b in zip(mixed, again, strict=True))


# -- errors --------------------------------------------------------------------------------------


def polygon(*points):
    return {"type": "Polygon", "coordinates": [points]}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ((2000, 0, 10, 10), "region 1 lies outside the slide: left 2000"),
        ((-20, 0, 10, 10), "region 1 lies outside the slide: left -20"),
        ([(0, 0, 9, 9), (0, 3000, 5, 5)], "region 2 lies outside"),
        ({"left": 5000}, "'left': 5000.* no pixel in the slide .width 2000"),
        ({"left": 10, "width": 0}, "no pixel in the slide"),
        ({"left": 10, "right": 5}, "no pixel in the slide"),
        ({"lef": 10}, "a region's dictionary has some of left, .*'lef': 10"),
        ({"units": "mm"}, "a region's dictionary"),
        ({"left": 1, "units": "inch"}, "units must be one of .*, got 'inch'"),
        ({"left": float("nan")}, "left of a region must be finite, got nan"),
        ((0, 0, 0, 5), "width and height of a region must be positive"),
        ((0, 0, 5, -5), "width and height of a region must be positive"),
        ((5, 5, 0, 0, 5, 0), "rx and ry of a region must be positive"),
        ((1, 2, 3), "4 numbers, 6, or an even count from 8 on; got 3"),
        ((1, 2, 3, 4, 5, 6, 7, 8, 9), "got 9"),
        ((0, 0, 5, 5, -1, -1, 9, 9), "region 1: a ring needs three points"),
        ({"ellipse": (1, 2, 3)}, r"ellipse must be \(x, y, rx, ry\)"),
        (polygon((0, 0), (5, 5)), "region 1: a ring needs three points"),
        (polygon((0, 0), (5, 5), (9, 9)), "region 1 is empty"),
        (polygon((3, 3), (3, 3), (3, 3), (3, 3)), "region 1 is empty"),
        (polygon((0, 0), (5, float("inf")), (9, 9)), "must be finite .*inf"),
        (polygon((0, 0), (5, 1e300), (9, 9)), "1e\\+300"),
        (polygon((0, 0), ("a", 1), (9, 9)), "a ring needs points"),
        ({"type": "Polygon"}, "a Polygon needs a list of coordinates, got None"),
        ({"type": "Point", "coordinates": [1, 2]}, "needs an area .*got 'Point'"),
        ({"type": "LineString", "coordinates": SQUARE}, "needs an area .*got 'LineString'"),
        ({"type": "FeatureCollection", "features": []}, "holds no regions"),
        ({"type": "FeatureCollection"}, "needs a list of features, got None"),
        (
            {"type": "Feature", "geometry": None, "properties": {"name": "n"}},
            "'n': expected a geometry, got None",
        ),
        ("[1, 2]", "expected a GeoJSON object, got 1"),
    ],
)
def test_clear_errors(spec, message):
    with pytest.raises(ValueError, match=message):
        as_regions(spec, **SLIDE)


def test_errors_name_the_feature():
    features = [*QUPATH["features"]]
    features[1] = {
        "type": "Feature",
        "properties": {"name": "dot"},
        "geometry": {"type": "Point", "coordinates": [1, 2]},
    }
    with pytest.raises(ValueError, match="feature 1: 'dot': a region needs an area"):
        as_regions({"type": "FeatureCollection", "features": features[1:2]}, **SLIDE)
    features[1]["geometry"] = {"type": "Polygon"}
    with pytest.raises(ValueError, match="feature 2: 'dot': a Polygon needs a list"):
        as_regions({"type": "FeatureCollection", "features": features}, **SLIDE)
    outside = [Region("a", None, (np.array([(0, 0), (9, 0), (0, 9)]) + 5000.0,))]
    with pytest.raises(ValueError, match=r"region 1 \('a'\) lies outside"):
        as_regions(outside, **SLIDE)


def test_units_the_slide_cannot_convert():
    with pytest.raises(ValueError, match="mm: the slide's pixel size is unknown"):
        as_regions({"left": 1, "units": "mm"}, slide_shape=(10, 10))
    with pytest.raises(ValueError, match="magnification 20: the slide's own is unknown"):
        as_regions({"left": 1, "units": "pixels", "magnification": 20}, slide_shape=(10, 10))
    with pytest.raises(ValueError, match="downsample must be positive and finite, got 0"):
        as_regions((0, 0, 1, 1), slide_shape=(10, 10), downsample=0)
    for spec in (None, 5, [], {1, 2}):
        with pytest.raises(TypeError, match="expected a region"):
            as_regions(spec, slide_shape=(10, 10))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected GeoJSON, HistomicsUI JSON or ASAP XML"),
        ('{"type": "Feat', "expected GeoJSON, HistomicsUI JSON or ASAP XML"),
        ("<ASAP_Annotations>", "expected GeoJSON, HistomicsUI JSON or ASAP XML"),
        ("<annotation><object/></annotation>", "expected ASAP_Annotations .*got <annotation>"),
        (
            ASAP.replace('Type="Spline"', 'Type="Dot"').replace('Type="Polygon"', 'Type="Dot"'),
            "annotation 1: .* area .*got 'Dot'",
        ),
        (ASAP.replace('X="8"', 'X="eight"'), "expected Coordinate Order, X, Y"),
        ('{"type": "FeatureCollection", "features": []}', "holds no regions"),
        (b"\x89PNG\r\n\x1a\n", "expected GeoJSON"),
        (b"\x1f\x8b\x08\x00", r"a\.file"),
    ],
)
def test_files_that_hold_no_regions(content, message, tmp_path):
    path = tmp_path / "a.file"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message) as caught:
        as_regions(path, **SLIDE)
    assert str(path) in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        as_regions(tmp_path / "nowhere.geojson", **SLIDE)
