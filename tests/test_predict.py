"""Models on tiles: blended to what they give for the whole, the same for every chunking."""

from __future__ import annotations

import itertools
import pickle
import warnings

import dask.array as da
import numpy as np
import pytest
from dask.base import tokenize
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from conftest import to_numpy
from gpuseg._shared.prediction import Grid, stacked
from gpuseg.segmentation import OnnxModel, predict


def identity(tiles):
    return tiles


def noisy(tiles):
    """Depends on the place in a tile and in a batch: what hides a wrong grid in other tests."""
    flat = np.arange(tiles.size, dtype=np.float32).reshape(tiles.shape)
    return tiles.astype(np.float32) + np.sin(flat)


def blurred(image, axes):
    return ndimage.uniform_filter(image.astype(np.float32), 3, mode="constant", axes=axes)


def test_identity_is_exact(rng):
    for dtype, window in (("f4", "hann"), ("f2", "linear"), ("f8", "hann")):
        image = rng.normal(size=(37, 50)).astype(dtype)
        found = predict(image, identity, tile=16, overlap=7, batch=3, window=window)
        assert found.dtype == dtype
        if dtype != "f8":
            assert np.array_equal(found, image)
        else:
            np.testing.assert_allclose(found, image, rtol=1e-15)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=3),
    st.integers(1, 12),
    st.integers(0, 6),
    st.integers(0, 3),
    st.sampled_from(["hann", "linear"]),
)
def test_weights_add_up_to_one(shape, tile, overlap, halo, window):
    overlap = min(overlap, tile // 2)
    halo = min(halo, overlap // 2)
    count = len(shape)
    grid = Grid(tuple(shape), (tile,) * count, (overlap,) * count, (halo,) * count, window, 0)
    for axis, size in enumerate(shape):
        total, tiles = np.zeros(size), np.zeros(size, int)
        for i, start in enumerate(grid.starts[axis]):
            low, high = grid.span(axis, i)
            assert max(start, 0) <= low < high <= min(start + tile, size)
            if i > 0:
                assert low - start >= halo
            if i < len(grid.starts[axis]) - 1:
                assert start + tile - high >= halo
            edges = [low]
            for start_of, end, weights in grid.parts(axis, i):
                assert start_of == edges[-1] < end
                edges.append(end)
                total[start_of:end] += 1.0 if weights is None else weights
                assert weights is None or not (weights * 2**grid.bits % 1).any()
            assert edges[-1] == high
            tiles[low:high] += 1
        assert (total == 1).all()
        assert tiles.max() <= 2


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_chunks_change_no_bit(data):
    ndim = data.draw(st.sampled_from([2, 3]))
    shape = tuple(data.draw(st.integers(1, 30 if ndim == 2 else 14)) for _ in range(ndim))
    tile = data.draw(st.integers(2, 9))
    overlap = data.draw(st.integers(0, tile // 2))
    halo = data.draw(st.integers(0, overlap // 2))
    batch = data.draw(st.integers(1, 5))
    chunks = tuple(data.draw(st.integers(1, size)) for size in shape)
    image = np.random.default_rng(3).integers(0, 1000, shape).astype(np.uint16)
    options = {"tile": tile, "overlap": overlap, "halo": halo, "batch": batch}
    expected = predict(image, noisy, **options)
    lazy = predict(da.from_array(image, chunks=chunks), noisy, **options)
    assert lazy.dtype == np.float32
    assert lazy.chunks == da.from_array(image, chunks=chunks).chunks
    assert np.array_equal(lazy.compute(scheduler="sync"), expected)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize(
    ("shape", "overlap", "halo"), [((50,), 8, 1), ((33, 41), 7, 0), ((20, 9, 17), 5, 1)]
)
def test_tiles_are_added_in_raster_order(shape, overlap, halo, dtype, rng, container):
    """Each product rounds and each sum begins at 0, bit for bit: also where floats are wide."""
    image = rng.normal(size=shape).astype(dtype)
    image[rng.random(shape) < 0.3] = -0.0

    def model(tiles):
        return np.stack(
            [tiles * np.cos(np.arange(tiles.size, dtype=dtype)).reshape(tiles.shape)], 1
        )

    grid = Grid(shape, *(((n,) * len(shape)) for n in (16, overlap, halo)), "hann", 0)
    outputs = [model(stacked([image[slices(grid.box(i))]], grid, 1))[0] for i in grid.indices()]
    total = np.zeros((1, *shape))
    for index, output in zip(grid.indices(), outputs, strict=True):
        for pieces in itertools.product(*(grid.parts(k, i) for k, i in enumerate(index))):
            corner = [starts[i] for starts, i in zip(grid.starts, index, strict=True)]
            ends = [(a - c, b - c) for c, (a, b, _) in zip(corner, pieces, strict=True)]
            part = output[(..., *slices(ends))].astype(np.float64)
            for k, (_, _, weights) in enumerate(pieces):
                if weights is not None:
                    part = part * weights.reshape(
                        [-1 if at == k else 1 for at in range(len(shape))]
                    )
            place = (..., *(slice(a, b) for a, b, _ in pieces))
            total[place] += part
            if all(weights is None for _, _, weights in pieces):
                total[place] = part  # a copy: -0.0 stays
    expected = total.astype(dtype)
    found = predict(container(image, 1), model, tile=16, overlap=overlap, halo=halo)
    assert np.asarray(found).tobytes() == expected.tobytes()


def slices(box):
    return tuple(slice(*ends) for ends in box)


@pytest.mark.parametrize("shape", [(61, 47), (23, 30, 19)])
@pytest.mark.parametrize("halo", [1, 2])
def test_convolution_is_that_of_the_whole(rng, shape, halo):
    image = rng.normal(size=shape).astype(np.float32)
    axes = range(len(shape))
    expected = blurred(image, axes)

    def model(tiles):
        return np.stack([blurred(tile, axes) for tile in tiles])

    found = predict(image, model, tile=12, overlap=4, halo=halo, batch=4)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    # Without a halo what a tile's border spoils is mixed in.
    assert abs(predict(image, model, tile=12, overlap=4, batch=4) - expected).max() > 0.01


def test_channels_in_and_out(rng, container):
    image = rng.integers(0, 200, (3, 40, 33)).astype(np.uint8)

    def model(tiles):
        assert tiles.shape == (5, 3, 16, 16)
        first, second, third = (tiles[:, i].astype(np.float32) for i in range(3))
        return np.stack([first + second, third], axis=1)

    expected = np.stack([image[0].astype(np.float32) + image[1], image[2]])
    options = {"tile": 16, "overlap": 6, "batch": 5}
    found = predict(container(image, 3), model, channel_axis=0, **options)
    assert np.array_equal(np.asarray(found), expected)
    last = predict(container(image.transpose(1, 2, 0), 3), model, channel_axis=-1, **options)
    assert np.array_equal(np.asarray(last), expected.transpose(1, 2, 0))
    one = predict(container(image, 3), lambda tiles: model(tiles)[:, 0], channel_axis=0, **options)
    assert np.array_equal(np.asarray(one), expected[0])


def test_channels_from_none(rng, container):
    image = rng.normal(size=(20, 31)).astype(np.float32)
    model = lambda tiles: np.stack([tiles, -tiles], axis=1)  # noqa: E731
    found = predict(container(image), model, tile=8, overlap=2)
    assert np.array_equal(np.asarray(found), np.stack([image, -image]))


def test_frames_share_batches(rng, container):
    stack, seen = rng.normal(size=(5, 20, 31)).astype(np.float32), []

    def model(tiles):
        seen.append(tiles.shape)
        return blurred(tiles, (1, 2))

    found = np.asarray(predict(container(stack), model, tile=(20, 16), overlap=2, halo=1, batch=4))
    np.testing.assert_allclose(found, blurred(stack, (1, 2)), atol=1e-6)
    # Of 15 tiles the last batch is full, too; a Dask image asks once more.
    assert set(seen) == {(4, 20, 16)}
    assert len(seen) in (4, 5)


def test_classes_meet_without_a_ramp(rng, container):
    image = rng.integers(0, 9, (30, 41)).astype(np.int64)
    found = predict(container(image), identity, tile=10, overlap=4, halo=2, batch=2)
    assert found.dtype == np.int64
    assert np.array_equal(np.asarray(found), image)
    assert np.array_equal(np.asarray(predict(container(image), identity, tile=7)), image)
    with pytest.raises(TypeError, match="must return floats to be blended, got int64"):
        predict(container(image), identity, tile=10, overlap=4)


def test_small_images_are_mirrored(container):
    image, seen = np.arange(6.0).reshape(2, 3), []

    def model(tiles):
        seen.append(tiles)
        return tiles

    found = predict(container(image), model, tile=4, overlap=2)
    assert np.array_equal(np.asarray(found), image)
    assert np.array_equal(seen[-1][0], np.pad(image, ((0, 2), (0, 1)), mode="symmetric"))


def test_part_of_a_lazy_result_needs_few_batches(rng):
    calls = []

    def model(tiles):
        calls.append(len(tiles))
        return tiles

    image = rng.normal(size=(64, 64)).astype(np.float32)
    lazy = predict(da.from_array(image, chunks=16), model, tile=16, overlap=4, batch=2)
    assert calls == [2]
    assert np.array_equal(lazy[:8, :8].compute(), image[:8, :8])
    assert len(calls) < 8


def test_a_probe_of_zeros_warns_of_nothing(rng):
    image = da.from_array(rng.normal(size=(20, 20)), chunks=9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predict(image, lambda t: t / t.std(axis=(1, 2), keepdims=True), tile=10, overlap=2)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"tile": 0}, ValueError, "tile must be an integer of at least 1, or 2 of them, got 0"),
        ({"tile": (4, 4, 4)}, ValueError, r"tile must have 1 to 2 sizes .*\(4, 4, 4\)"),
        ({"overlap": 5}, ValueError, "overlap must be at most half a tile, got 5 for tiles of 8"),
        ({"overlap": (1, -1)}, ValueError, "overlap must be an integer of at least 0"),
        (
            {"overlap": 4, "halo": 3},
            ValueError,
            "halo must be at most half the overlap, got 3 and 4",
        ),
        ({"batch": 0}, ValueError, "batch must be a positive integer, got 0"),
        ({"window": "box"}, ValueError, "window must be 'hann' or 'linear', got 'box'"),
        ({"channel_axis": 2}, ValueError, "channel_axis must be an axis of the image's 2, got 2"),
        ({"model": 3}, TypeError, "model must be callable or the path of an ONNX file, got 3"),
        ({"model": lambda t: t[:, :4]}, ValueError, r"must return shape \(1, 8, 8\) or"),
        ({"model": lambda t: t.tolist()}, TypeError, "model must return arrays .* 'list'"),
        ({"image": np.zeros((0, 4))}, ValueError, r"image must have pixels .* got \(0, 4\)"),
        ({"model": "none.onnx"}, FileNotFoundError, "none.onnx: there is no such file"),
    ],
)
def test_what_is_refused(arguments, error, message, container):
    given_ = {"image": np.zeros((20, 20), np.float32), "model": identity, "tile": 8, **arguments}
    image = given_.pop("image")
    with pytest.raises(error, match=message):
        predict(container(image) if image.size else image, given_.pop("model"), **given_)


# ---- ONNX


@pytest.fixture(scope="module")
def unet(tmp_path_factory):
    """Writer of small models: a convolution of 3 x 3, then a sigmoid."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from onnx import TensorProto, helper, numpy_helper

    def write(name, shape, out=1, outputs=("probability",)):
        ndim = len(shape) - 2
        kernel = np.random.default_rng(0).normal(size=(out, shape[1], *(3,) * ndim))
        nodes = [
            helper.make_node("Conv", ["image", "kernel"], ["logits"], pads=[1] * (2 * ndim)),
            helper.make_node("Sigmoid", ["logits"], ["probability"]),
        ]
        loose = [None if isinstance(size, str) else size for size in shape]
        graph = helper.make_graph(
            nodes,
            "small",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
            [
                helper.make_tensor_value_info(each, TensorProto.FLOAT, [loose[0], out, *loose[2:]])
                for each in outputs
            ],
            [numpy_helper.from_array(kernel.astype(np.float32), "kernel")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
        model.ir_version = 8
        onnx.checker.check_model(model)
        path = tmp_path_factory.mktemp("onnx") / f"{name}.onnx"
        onnx.save(model, path)
        return path, kernel.astype(np.float32)

    return write


def sigmoid(image, kernel):
    """What the model gives for the whole image: (channels, *space)."""
    logits = [
        sum(
            ndimage.correlate(channel, weights, mode="constant")
            for channel, weights in zip(image, out, strict=True)
        )
        for out in kernel
    ]
    return 1 / (1 + np.exp(-np.stack(logits)))


@pytest.mark.parametrize("shape", [(45, 38), (14, 17, 20)])
def test_onnx_of_one_channel(unet, rng, container, shape, monkeypatch):
    monkeypatch.setenv("GPUSEG_NUM_THREADS", "3")
    path, kernel = unet("one", ["N", 1, *[None] * len(shape)])
    image = rng.integers(0, 9, shape).astype(np.uint16)
    found = predict(container(image), path, tile=12, overlap=4, halo=1, batch=3)
    assert (found.shape, found.dtype) == (shape, np.float32)
    expected = sigmoid(image[None].astype(np.float32), kernel)[0]
    np.testing.assert_allclose(np.asarray(found), expected, atol=1e-5)
    eager = predict(image, str(path), tile=12, overlap=4, halo=1, batch=3)
    assert np.array_equal(np.asarray(found), eager)


def test_onnx_of_channels(unet, rng):
    path, kernel = unet("rgb", [2, 3, 16, 16], out=4)
    image = rng.normal(size=(30, 40, 3)).astype(np.float32)
    options = {"tile": 16, "overlap": 4, "halo": 1, "batch": 2, "channel_axis": 2}
    found = predict(image, path, **options)
    expected = sigmoid(image.transpose(2, 0, 1), kernel).transpose(1, 2, 0)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    for wrong in ({"batch": 1}, {"tile": 12}):
        with pytest.raises(ValueError, match=r"takes batches of shape \(2, 3, 16, 16\), got"):
            predict(image, path, **options | wrong)


def test_onnx_by_a_worker(unet, rng):
    distributed = pytest.importorskip("distributed")
    path, _ = unet("far", ["N", 1, None, None])
    again = pickle.loads(pickle.dumps(OnnxModel(path)))
    assert tokenize(again) == tokenize(OnnxModel(path))
    image = da.from_array(rng.normal(size=(30, 30)).astype(np.float32), chunks=16)
    lazy = predict(image, path, tile=12, overlap=4)
    with (
        distributed.LocalCluster(
            1, processes=False, memory_limit=0, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        assert np.array_equal(client.compute(lazy).result(), lazy.compute())


def test_onnx_that_does_not_fit(unet, tmp_path):
    path, _ = unet("two", ["N", 1, None, None], outputs=("probability", "logits"))
    with pytest.raises(ValueError, match="output must be one of probability, logits, got None"):
        OnnxModel(path)
    assert OnnxModel(path, output="logits").output == "logits"
    assert "any x 1 x any x any" in repr(OnnxModel(path, output="logits"))
    (tmp_path / "a.onnx").write_bytes(b"no model")
    with pytest.raises(ValueError, match="not a readable ONNX model"):
        OnnxModel(tmp_path / "a.onnx")


def test_onnx_never_falls_back_to_the_cpu(unet):
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    path, _ = unet("cuda", ["N", 1, None, None])
    with pytest.raises(RuntimeError, match="CuPy arrays need CUDAExecutionProvider"):
        OnnxModel(path)._session("CUDAExecutionProvider", 0)


def test_files_in_memory(tmp_path):
    image = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.float32, (20, 30))
    image[:] = np.arange(30)
    found = predict(image[::2], identity, tile=8, overlap=3)
    assert np.array_equal(found, image[::2])


def test_every_floor(xp, container, rng):
    image = rng.normal(size=(7, 30, 3)).astype(np.float32)
    options = {"tile": 12, "overlap": 6, "batch": 3, "channel_axis": 2}
    expected = predict(image, noisy_of(np), **options)
    found = predict(container(xp.asarray(image)), noisy_of(xp), **options)
    found = found.compute() if hasattr(found, "compute") else found
    assert type(found) is type(xp.zeros(1))
    np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-5)


def noisy_of(xp):
    """`noisy` for arrays of a module."""
    return lambda tiles: tiles + xp.asarray(noisy(np.zeros(tiles.shape)))


def test_a_model_stays_where_the_tiles_are(xp):
    if xp is np:
        pytest.skip("for arrays of a device")
    with pytest.raises(TypeError, match="must return arrays where the tiles are"):
        predict(xp.asarray(np.zeros((20, 20))), lambda tiles: tiles.get(), tile=16)


@pytest.mark.gpu
def test_onnx_on_a_device(unet, rng):
    import cupy

    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has no CUDA")
    path, kernel = unet("device", ["N", 1, None, None])
    image = rng.normal(size=(45, 38)).astype(np.float32)
    found = predict(cupy.asarray(image), path, tile=12, overlap=4, halo=1, batch=3)
    assert isinstance(found, cupy.ndarray)
    np.testing.assert_allclose(found.get(), sigmoid(image[None], kernel)[0], atol=1e-3)


def test_chunks_without_pixels(rng):
    image = rng.random((7, 9))
    chunks = ((0, 3, 0, 4, 0), (5, 0, 4))
    found = predict(da.from_array(image, chunks=chunks), np.negative, tile=4, overlap=2)
    assert found.chunks == chunks
    np.testing.assert_array_equal(found.compute(), predict(image, np.negative, tile=4, overlap=2))


@pytest.mark.parametrize("name", ["tile", "overlap", "halo"])
@pytest.mark.parametrize("value", [1.5, None, "4", np.nan])
def test_sizes_that_are_no_integers(name, value):
    with pytest.raises(ValueError, match=f"{name} must be an integer"):
        predict(np.ones((8, 8)), np.negative, **{"tile": 4, name: value})
