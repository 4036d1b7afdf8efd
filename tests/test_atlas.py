"""Points in the structures of an atlas, against loops that look at one point or voxel each."""

from __future__ import annotations

import json
import math
import shutil

import dask.array as da
import numpy as np
import pytest
import tifffile
from _slides import write_ome_zarr
from emulator import standin
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gpuseg import atlas as ga
from gpuseg.atlas import Atlas, Midline, Structures, count_regions, density_map, locate

ROWS = [
    {"id": 997, "acronym": "root", "name": "root", "structure_id_path": [997]},
    {"id": 8, "acronym": "grey", "name": "Basic cell groups", "structure_id_path": [997, 8]},
    {"id": 567, "acronym": "CH", "name": "Cerebrum", "structure_id_path": [997, 8, 567]},
    {"id": 614454277, "acronym": "SNc", "name": "Nigra", "structure_id_path": [997, 8, 614454277]},
    {"id": 73, "acronym": "VS", "name": "ventricles", "structure_id_path": [997, 73]},
]
IDS = np.array([0, 997, 8, 567, 614454277, 73])


def random_annotation(seed: int, shape=(7, 9, 11)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.choice(IDS, [-(-n // 2) for n in shape])
    whole = np.kron(coarse, np.ones((2, 2, 2), np.int64))
    return whole[: shape[0], : shape[1], : shape[2]].astype(np.uint32)


def rotation(angle: float, scale: float) -> np.ndarray:
    affine = np.eye(4)
    c, s = math.cos(angle), math.sin(angle)
    affine[:3, :3] = scale * np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    affine[:3, 3] = (3.0, -8.0, 12.5)
    return affine


def one_by_one(points, annotation, spacing, origin, affine):
    """Id under each point, one after the other."""
    found = []
    for point in points:
        where = (affine @ [*point, 1.0])[:3]
        voxel = [
            math.floor((w - o) / s + 0.5) for w, o, s in zip(where, origin, spacing, strict=True)
        ]
        inside = all(0 <= v < n for v, n in zip(voxel, annotation.shape, strict=True))
        found.append(int(annotation[tuple(voxel)]) if inside else 0)
    return np.array(found, np.int64)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-3, 3), st.floats(0.3, 3))
def test_points_one_by_one(seed, angle, scale):
    annotation, affine = random_annotation(seed), rotation(angle, scale)
    spacing, origin = (20.0, 10.0, 30.0), (10.0, -5.0, 0.0)
    brain = Atlas(annotation, ROWS, spacing=spacing, origin=origin)
    points = np.random.default_rng(seed).uniform(-60, 200, (60, 3))
    steps = ((points @ affine[:3, :3].T + affine[:3, 3] - origin) / spacing + 0.5) % 1
    assume(np.minimum(steps, 1 - steps).min() > 1e-9)  # no point between two voxels
    expected = one_by_one(points, annotation, spacing, origin, affine)
    assert np.array_equal(locate(points, brain, affine=affine)["structure"], expected)
    if (expected != 0).any():
        counts = count_regions(points, brain, affine=affine)
        assert counts["own"].tolist() == [(expected == i).sum() for i in counts["id"]]
        assert counts["own"].sum() == len(points)
    to_voxels = np.diag([*(1 / np.array(spacing)), 1.0]) @ affine
    to_voxels[:3, 3] -= np.array(origin) / spacing
    by_voxels = locate(points, brain, affine=to_voxels, units="voxels")
    assert np.array_equal(by_voxels["structure"], expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-3, 3), st.floats(0.5, 2))
def test_volumes_voxel_by_voxel(seed, angle, scale):
    annotation, affine = random_annotation(seed), rotation(angle, scale)
    spacing, step, shape, corner = (
        (20.0, 10.0, 30.0),
        (7.0, 5.0, 9.0),
        (12, 30, 25),
        (4.0, 0.0, 1.0),
    )
    brain = Atlas(annotation, ROWS, spacing=spacing)
    centres = np.argwhere(annotation > 0) * spacing
    back = (centres - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    voxels = (back - corner) / step
    assume(np.abs(voxels + 0.5).min() > 1e-6)
    assume(np.abs(voxels + 0.5 - np.array(shape)).min() > 1e-6)
    inside = ((voxels > -0.5) & (voxels < np.array(shape) - 0.5)).all(axis=1)
    assume(inside.any())
    size = np.prod(spacing) / abs(np.linalg.det(affine[:3, :3])) / 1e9
    ids = annotation[annotation > 0]
    sampled = count_regions([], brain, affine=affine, shape=shape, spacing=step, origin=corner)
    whole = count_regions([], brain, affine=affine)
    parts = {997: IDS[1:], 8: [8, 567, 614454277], 567: [567], 614454277: [614454277], 73: [73]}
    for row, own in enumerate(whole["id"][:-1]):
        belong = np.isin(ids, parts[own])
        np.testing.assert_allclose(whole["volume_mm3"][row], belong.sum() * size)
        np.testing.assert_allclose(sampled["volume_mm3"][row], (belong & inside).sum() * size)
    assert np.isnan(whole["volume_mm3"][-1])


def test_structures_hold_their_parts(rng):
    annotation = random_annotation(0)
    brain = Atlas(annotation, ROWS, spacing=25, midline=Midline(2))
    points = rng.uniform(-30, 260, (500, 3))
    counts = count_regions(points, brain)
    by_name = dict(zip(counts["acronym"].tolist(), counts["count"].tolist(), strict=True))
    own = dict(zip(counts["acronym"].tolist(), counts["own"].tolist(), strict=True))
    assert by_name["grey"] == own["grey"] + own["CH"] + own["SNc"]
    assert by_name["root"] == len(points) - own["outside"]
    assert counts["parent"].tolist() == [0, 997, 8, 8, 997, 0]
    assert counts["depth"].tolist() == [0, 1, 2, 2, 1, 0]
    for column in ("count", "volume_mm3"):
        sides = counts[f"{column}_left"] + counts[f"{column}_right"]
        np.testing.assert_allclose(sides[:-1], counts[column][:-1])
    density = counts["count_left"][:-1] / counts["volume_mm3_left"][:-1]
    np.testing.assert_array_equal(counts["density_left"][:-1], density)


def test_brainglobes_voxels_begin_at_their_corner(rng):
    annotation = random_annotation(1)
    brain = Atlas(annotation, ROWS, spacing=25, origin=12.5)
    points = rng.uniform(0, 175, (200, 3))
    index = (points // 25).astype(int)
    inside = (index < annotation.shape).all(axis=1)
    expected = np.where(inside, annotation[tuple(np.where(inside[:, None], index, 0).T)], 0)
    assert np.array_equal(locate(points, brain)["structure"], expected)


@pytest.mark.parametrize("left", ["above", "below"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_midline_is_its_volume(rng, axis, left):
    annotation = random_annotation(2)
    index = np.indices(annotation.shape)[axis]
    above = index >= (annotation.shape[axis] - 1) / 2
    hemispheres = np.where(above == (left == "above"), 1, 2).astype(np.uint8)
    points = rng.uniform(-20, 250, (300, 3))
    plane = Atlas(annotation, ROWS, spacing=25, midline=Midline(axis, left=left))
    volume = Atlas(annotation, ROWS, spacing=25, hemispheres=hemispheres)
    ours, theirs = (count_regions(points, brain) for brain in (plane, volume))
    for name, column in ours.items():
        np.testing.assert_array_equal(column, theirs[name], err_msg=name)
    assert set(locate(points, plane)["side"]) == {0, 1, 2}
    moved = Midline(axis, 50.0, left)
    sides = locate(np.full((1, 3), 50.0), Atlas(annotation, ROWS, spacing=25, midline=moved))
    assert sides["side"].tolist() == [1 if left == "above" else 2]


@pytest.mark.parametrize("threads", ["1", "3"])
def test_chunks_threads_and_types_of_an_annotation(rng, monkeypatch, threads):
    monkeypatch.setenv("GPUSEG_NUM_THREADS", threads)
    monkeypatch.setattr("gpuseg._cpu.atlas._TASK", 200)
    annotation, points = random_annotation(3), rng.uniform(-20, 250, (300, 3))
    expected = count_regions(points, Atlas(annotation, ROWS, spacing=25))
    for other in (
        da.from_array(annotation, chunks=(3, 4, 5)),
        annotation.astype(">i8"),
        np.asfortranarray(annotation),
        np.broadcast_to(annotation, annotation.shape),  # read-only
    ):
        found = count_regions(points, Atlas(other, ROWS, spacing=25))
        assert all(
            np.array_equal(found[n], c, equal_nan=c.dtype.kind == "f") for n, c in expected.items()
        )


def test_more_structures_than_two_bytes_hold(rng):
    annotation, points = random_annotation(3), rng.uniform(-20, 250, (300, 3))
    number = 70_000
    flat = Structures(range(1, number + 1), ["a"] * number, ["a"] * number, [-1] * number)
    counts = count_regions(points, Atlas(np.minimum(annotation, number), flat, spacing=25))
    assert counts["own"].sum() == 300
    expected = count_regions(points, Atlas(annotation, ROWS, spacing=25))["own"]
    assert counts["own"][number - 1] == expected[3]
    assert counts["own"][566] == expected[2]


def test_points_of_a_table(rng):
    pandas = pytest.importorskip("pandas")
    brain = Atlas(random_annotation(4), ROWS, spacing=25)
    points = rng.uniform(0, 150, (50, 3))
    columns = {"label": np.arange(50), "z": points[:, 0], "y": points[:, 1], "x": points[:, 2]}
    expected = count_regions(points, brain)["own"]
    assert np.array_equal(count_regions(columns, brain)["own"], expected)
    frame = pandas.DataFrame(columns)
    assert np.array_equal(count_regions(frame, brain)["own"], expected)
    assert pandas.DataFrame(count_regions(frame, brain)).shape == (6, 9)


def test_no_points():
    counts = count_regions([], Atlas(random_annotation(5), ROWS, spacing=25))
    assert counts["count"].tolist() == [0] * 6
    assert locate(np.empty((0, 3)), Atlas(random_annotation(5), ROWS, spacing=25))["side"].size == 0


@pytest.mark.parametrize("symmetric", [True, False])
def test_folder_of_brainglobe(tmp_path, symmetric):
    annotation = random_annotation(6)
    tifffile.imwrite(tmp_path / "annotation.tiff", annotation, photometric="minisblack")
    about = {"resolution": [25.0, 25.0, 25.0], "symmetric": symmetric, "orientation": "asr"}
    (tmp_path / "metadata.json").write_text(json.dumps(about))
    (tmp_path / "structures.json").write_text(json.dumps(ROWS))
    half = np.full(annotation.shape, 2, np.uint8)
    half[..., round(annotation.shape[2] / 2) :] = 1
    if not symmetric:
        tifffile.imwrite(tmp_path / "hemispheres.tiff", half, photometric="minisblack")
    brain = ga.open_atlas(tmp_path)
    assert (brain.spacing, brain.origin, brain.has_sides) == ((25.0,) * 3, (12.5,) * 3, True)
    found = locate([[0.0, 0.0, 24.9], [0.0, 0.0, 270.0]], brain)
    assert found["structure"].tolist() == [annotation[0, 0, 0], annotation[0, 0, 10]]
    assert found["side"].tolist() == [2, 1]
    row = locate([[0.0, 0.0, 25 * x + 1] for x in range(11)], brain)
    assert row["side"].tolist() == half[0, 0].tolist()
    about["orientation"] = "ask"
    (tmp_path / "metadata.json").write_text(json.dumps(about))
    if symmetric:
        with pytest.raises(ValueError, match="must name left or right, got 'ask'"):
            ga.open_atlas(tmp_path)


def version_three(root, annotation, symmetric):
    """Folders of brainglobe-atlasapi 3, of an annotation in two resolutions."""
    coarse = annotation[::2, ::2, ::2]
    scale = {"version": "0.5", "scale": [0.025] * 3, "unit": "millimeter"}
    images = root / "annotation-sets" / "test-annotation" / "1_0"
    arrays = {"annotations_compressed": annotation}
    if not symmetric:
        half = np.full(annotation.shape, 2, np.uint8)
        half[..., 3:] = 1
        arrays["hemispheres"] = half
    for name, array in arrays.items():
        levels = [array, array[::2, ::2, ::2]]
        write_ome_zarr(images / f"{name}.ome.zarr", levels, "zyx", **scale)
    words = root / "terminologies" / "test-terminology" / "1_0"
    words.mkdir(parents=True)
    lines = ["identifier,abbreviation,name,root_identifier_path"]
    lines += [f'{r["id"]},{r["acronym"]},{r["name"]},"{r["structure_id_path"]}"' for r in ROWS]
    (words / "terminology.csv").write_text("\n".join(lines))
    folder = root / "atlases" / "test_50um" / "1_0"
    folder.mkdir(parents=True)
    about = {
        "resolution": [50.0, 50.0, 50.0],
        "shape": list(coarse.shape),
        "symmetric": symmetric,
        "annotation_set": {"location": "/annotation-sets/test-annotation/1_0"},
        "terminology": {"location": "/terminologies/test-terminology/1_0"},
    }
    (folder / "manifest.json").write_text(json.dumps(about))
    return folder, coarse


@pytest.mark.parametrize("symmetric", [True, False])
def test_manifest_of_brainglobe(tmp_path, symmetric):
    folder, coarse = version_three(tmp_path, random_annotation(8), symmetric)
    for path in (folder, folder / "manifest.json"):
        brain = ga.open_atlas(path)
        assert (brain.shape, brain.spacing, brain.origin) == (
            coarse.shape,
            (50.0,) * 3,
            (25.0,) * 3,
        )
        centres = 50 * np.stack(np.meshgrid(*map(np.arange, coarse.shape), indexing="ij"), -1) + 25
        found = locate(centres.reshape(-1, 3), brain)
        assert np.array_equal(found["structure"], coarse.ravel())
        plane = round(coarse.shape[2] / 2) if symmetric else 2
        expected = np.where(np.arange(coarse.shape[2]) >= plane, 1, 2)
        assert np.array_equal(found["side"][: coarse.shape[2]], expected)


def test_atlases_that_are_not_whole(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has a metadata.json or a manifest.json"):
        ga.open_atlas(tmp_path)
    folder, _ = version_three(tmp_path, random_annotation(9), True)
    images = tmp_path / "annotation-sets" / "test-annotation" / "1_0"
    for chunks in images.glob("*/1/c"):  # those of the other level are there
        shutil.rmtree(chunks)
    with pytest.raises(FileNotFoundError, match="has no chunks yet"):
        ga.open_atlas(folder)
    about = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(about | {"shape": [4, 5, 5]}))
    with pytest.raises(ValueError, match=r"a level must have shape \(4, 5, 5\), there are"):
        ga.open_atlas(folder)
    del about["terminology"]
    (folder / "manifest.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match="the manifest must have 'terminology'"):
        ga.open_atlas(folder)


def test_density_adds_up(rng):
    points = rng.uniform(-50, 900, (2000, 3))
    shape, spacing, origin = (40, 60, 81), (10.0, 12.0, 8.0), (5.0, 0.0, -3.0)
    density = density_map(points, shape, spacing, side=150, origin=origin)
    assert density.shape == (3, 5, 5)
    faces = [
        np.minimum(np.arange(n + 1) * 150, s * t)
        for n, s, t in zip((3, 5, 5), shape, spacing, strict=True)
    ]
    volume = np.einsum("i,j,k->ijk", *map(np.diff, faces)) / 1e9
    low = np.array(origin) - np.array(spacing) / 2
    expected, _ = np.histogramdd(points - low, faces)
    np.testing.assert_allclose(density * volume, expected)


BRAIN = Atlas(random_annotation(7), ROWS, spacing=25)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"points": [[0, 0, np.nan], [1, 2, 3]]},
            "must be finite, 1 are not; the first is point 0",
        ),
        ({"points": [[0, 0]]}, r"must have shape \(N, 3\), got \(1, 2\)"),
        ({"points": {"z": [0], "x": [0]}}, "must have columns z, y and x, y is missing"),
        ({"affine": np.diag([1, 1, 0, 1])}, "must have an inverse"),
        ({"affine": np.diag([1, 1, 1, 2])}, "must end in the row 0, 0, 0, 1"),
        ({"affine": np.full((4, 4), np.nan)}, "affine must be finite"),
        ({"affine": np.eye(3)}, r"must be a 4 x 4 matrix, got shape \(3, 3\)"),
        ({"units": "mm"}, "units must be 'um' or 'voxels', got 'mm'"),
        (
            {"points": [[5000.0, 0, 0]]},
            "must overlap the sample, whose points lie at voxels 200 to",
        ),
        ({"shape": (5, 5, 5)}, r"spacing \(of the sample, with shape\) must be a positive number"),
        ({"shape": (5, 5), "spacing": 1}, r"three positive integers \(z, y, x\), got \(5, 5\)"),
        (
            {"shape": (5, 5, 5), "spacing": 1, "origin": 900},
            "must overlap the sample, which lies at",
        ),
        ({"spacing": 0, "shape": (5, 5, 5)}, "must be a positive number or three"),
    ],
)
def test_what_is_refused(arguments, message):
    given_ = {"points": [[10.0, 10.0, 10.0]], **arguments}
    with pytest.raises(ValueError, match=message):
        count_regions(given_.pop("points"), BRAIN, **given_)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"annotation": np.full((2, 2, 2), 5)}, ValueError, "1 are missing: 5"),
        (
            {"annotation": da.from_array(np.arange(100, 136).reshape(4, 3, 3), chunks=2)},
            ValueError,
            "36 are missing: 100, 101, .*109, ...",
        ),
        ({"annotation": np.ones((2, 2, 2), np.float32)}, TypeError, "integer ids, got float32"),
        ({"annotation": np.ones((2, 2), int)}, ValueError, r"must be 3-D .* got shape \(2, 2\)"),
        ({"annotation": [[[1]]]}, TypeError, "expected a NumPy, CuPy or Dask array"),
        ({"spacing": (1, 2)}, ValueError, r"spacing must be a positive number or three .*\(1, 2\)"),
        ({"hemispheres": np.ones((1, 2, 2))}, ValueError, "must have the annotation's shape"),
        ({"hemispheres": np.full((2, 2, 2), 3)}, ValueError, "got int64 from 3 to 3"),
        ({"midline": Midline(3)}, ValueError, "axis from 0 to 2"),
        (
            {"midline": Midline(2), "hemispheres": np.ones((2, 2, 2), int)},
            ValueError,
            "got both",
        ),
    ],
)
def test_what_is_no_atlas(arguments, error, message):
    given_ = {"annotation": np.full((2, 2, 2), 8), "spacing": 25, **arguments}
    with pytest.raises(error, match=message):
        Atlas(given_.pop("annotation"), ROWS, **given_)


def test_arrays_of_a_device_are_named():
    with pytest.raises(TypeError, match=r"convert it with `array.get\(\)`"):
        Atlas(standin.asarray(np.full((2, 2, 2), 8)), ROWS, spacing=25)
    with pytest.raises(TypeError, match="points must be a NumPy array"):
        locate(da.zeros((3, 3)), BRAIN)


def test_density_refuses():
    with pytest.raises(ValueError, match="side must be positive, got 0"):
        density_map([], (2, 2, 2), 1.0, side=0)
    with pytest.raises(ValueError, match="three positive integers"):
        density_map([], (2, 2.5, 2), 1.0)
