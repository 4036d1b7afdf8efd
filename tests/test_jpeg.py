"""Our JPEG decoder against libjpeg-turbo: the same pixels, or left to libjpeg."""

from __future__ import annotations

import io

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage import data as images

from gpuseg._cpu import hsi, jpeg
from gpuseg._shared.hsi import WORDS, Parameters, rule_for
from gpuseg.io import _jpeg

RULE = rule_for(np.dtype(np.uint8), Parameters(hue_value=0.05), Parameters(hue_value=0.6), None)


def pixels(height: int, width: int, seed: int = 0, noise: float = 30) -> np.ndarray:
    """Waves, edges and noise: colours that are not smooth, and blocks of one colour."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [128 + 120 * np.sin(x / a + y / b) for a, b in ((5, 9), (31, 4), (3, 50))]
    image = np.stack(waves, axis=-1) + rng.normal(0, noise, (height, width, 3))
    image[height // 3 : height // 2, width // 4 :] = rng.uniform(0, 255, 3)
    return np.clip(image, 0, 255).astype(np.uint8)


def encoded(image: np.ndarray, sampling: str = "4:2:0", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", **({"subsampling": sampling, **options}))
    return file.getvalue()


def split(stream: bytes) -> int:
    """Where the entropy-coded data begin."""
    scan = _jpeg.read_header(stream).scan
    return scan + 2 + int.from_bytes(stream[scan + 2 : scan + 4])


def frame(stream: bytes, tables: bytes = b"", rgb: bool = False) -> jpeg.Frame | None:
    return jpeg.frame(stream[: split(stream)], tables, rgb)


def decoded(stream: bytes, **options) -> np.ndarray | None:
    found = frame(stream, **options)
    return None if found is None else jpeg.decode(stream, found)


@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("shape", [(64, 64), (1, 5), (17, 250), (240, 240), (33, 1100), (16, 6)])
def test_equals_libjpeg(shape, sampling):
    for quality, noise in ((10, 80), (80, 10), (100, 60)):
        stream = encoded(pixels(*shape, noise=noise), sampling, quality=quality)
        np.testing.assert_array_equal(decoded(stream), simplejpeg.decode_jpeg(stream))


@given(
    shape=st.tuples(st.integers(1, 70), st.integers(6, 120)),
    sampling=st.sampled_from(["4:4:4", "4:2:2", "4:2:0"]),
    quality=st.integers(1, 100),
    noise=st.sampled_from([0, 5, 200]),
    optimize=st.booleans(),
    seed=st.integers(0, 99),
)
def test_equals_libjpeg_whatever_is_encoded(shape, sampling, quality, noise, optimize, seed):
    image = pixels(*shape, seed=seed, noise=noise)
    stream = encoded(image, sampling, quality=quality, optimize=optimize)
    np.testing.assert_array_equal(decoded(stream), simplejpeg.decode_jpeg(stream))


def test_only_black_and_white():
    """The largest coefficients that pixels can have, at the finest steps and at the coarsest."""
    rng = np.random.default_rng(1)
    image = np.repeat(rng.integers(0, 2, (64, 64, 1)) * 255, 3, axis=2).astype(np.uint8)
    for quality in (1, 50, 100):
        stream = encoded(image, "4:4:4", quality=quality)
        np.testing.assert_array_equal(decoded(stream), simplejpeg.decode_jpeg(stream))


def test_tissue():
    stream = encoded(images.immunohistochemistry(), quality=80)
    np.testing.assert_array_equal(decoded(stream), simplejpeg.decode_jpeg(stream))


@pytest.mark.parametrize("rgb", [True, False])
def test_tables_apart_and_colours_as_told(rgb):
    """As TIFF stores tiles: without tables, and without a word on their colours."""
    whole = encoded(pixels(48, 48), "4:4:4", quality=70)
    segments = list(jpeg._segments(whole[2 : split(whole)]))
    packed = dict.fromkeys((219, 196, 192, 218), b"")
    for code, content in segments:
        if code in packed:
            size = (len(content) + 2).to_bytes(2)
            packed[code] += bytes([255, code]) + size + content
    tables = packed[0xDB] + packed[0xC4]
    bare = b"\xff\xd8" + packed[0xC0] + packed[0xDA] + whole[split(whole) :]
    expected = _jpeg.decode(_jpeg.complete(bare, tables, _jpeg.read_header(bare), rgb))
    np.testing.assert_array_equal(decoded(bare, tables=tables, rgb=rgb), expected)
    assert frame(bare) is None, "there are no tables"


def test_jfif_is_never_rgb():
    stream = encoded(pixels(48, 48))
    np.testing.assert_array_equal(decoded(stream, rgb=True), simplejpeg.decode_jpeg(stream))


@pytest.mark.parametrize(
    "options",
    [{"progressive": True}, {"restart_marker_blocks": 2}, {"sampling": "4:1:1"}],
    ids=lambda options: next(iter(options)),
)
def test_unusual_streams_are_left_to_libjpeg(options):
    if "sampling" in options:
        stream = simplejpeg.encode_jpeg(pixels(64, 64), colorsubsampling="440")
    else:
        stream = encoded(pixels(64, 64), **options)
    assert frame(stream) is None


def test_grey_and_narrow_streams_are_left_to_libjpeg():
    assert frame(encoded(pixels(64, 64)[..., 0], "4:4:4")) is None
    assert frame(encoded(pixels(64, 4))) is None


def test_damage_is_left_to_libjpeg():
    """Every stream that libjpeg warns of; and of the others, the same pixels."""
    stream = bytearray(encoded(pixels(64, 96), quality=60))
    found = frame(bytes(stream))
    rng = np.random.default_rng(0)
    start, left, equal = split(bytes(stream)), 0, 0
    for _ in range(300):
        broken = stream.copy()
        for place in rng.integers(start, len(stream), rng.integers(1, 4)):
            broken[place] = rng.integers(256)
        ours = jpeg.decode(bytes(broken), found)
        try:
            theirs = simplejpeg.decode_jpeg(bytes(broken))
        except ValueError:
            theirs = None
        if ours is None:
            left += 1
            continue
        assert theirs is not None, "libjpeg warns of it"
        np.testing.assert_array_equal(ours, theirs)
        equal += 1
    assert left > 50
    assert equal > 10


def test_cut_streams_are_left_to_libjpeg():
    stream = encoded(pixels(40, 40))
    found = frame(stream)
    for size in range(0, len(stream), 7):
        assert jpeg.decode(stream[:size], found) is None
    assert jpeg.decode(stream[:-2] + b"\0\xff\xd9", found) is None, "a byte too many"
    np.testing.assert_array_equal(jpeg.decode(stream + b"\0\0", found), decoded(stream))


def test_damaged_headers_are_left_to_libjpeg():
    stream = encoded(pixels(40, 40))
    head = stream[: split(stream)]
    rng = np.random.default_rng(0)
    for place in range(2, len(head)):
        broken = bytearray(stream)
        broken[place] ^= 1 << rng.integers(8)
        found = jpeg.frame(bytes(broken[: len(head)]), b"", False)
        ours = None if found is None else jpeg.decode(bytes(broken), found)
        if ours is not None:
            np.testing.assert_array_equal(ours, simplejpeg.decode_jpeg(bytes(broken)))


def addresses(streams: list[bytes], part: tuple[int, int, int, int], labels=None) -> np.ndarray:
    rows = []
    for number, stream in enumerate(streams):
        where = (0, 0)
        if labels is not None:
            where = (labels[number].ctypes.data, labels[number].strides[0])
        rows.append((np.frombuffer(stream, np.uint8).ctypes.data, len(stream), *part, *where, 0, 0))
    return np.array(rows, np.int64)


@pytest.mark.parametrize("shape", [(64, 96), (20, 2100)])
@pytest.mark.parametrize("cut", [0, 3])
def test_tally_equals_decoding_then_counting(shape, cut):
    streams = [encoded(pixels(*shape, seed=seed), quality=85) for seed in range(3)]
    part = cut, 2 * cut, shape[0] - 2 * cut, shape[1] - 5 * cut
    inside = np.s_[part[0] : part[0] + part[2], part[1] : part[1] + part[3]]
    labels = np.zeros((3, *part[2:]), np.uint8)
    words, expected = np.zeros((1, WORDS), np.int64), np.zeros(WORDS, np.int64)
    assert jpeg.tally(addresses(streams, part, labels), frame(streams[0]), RULE, words) == 3
    for number, stream in enumerate(streams):
        tile = simplejpeg.decode_jpeg(stream)[inside]
        out = np.zeros(part[2:], np.uint8)
        hsi.add(tile, RULE, expected, None, out)
        np.testing.assert_array_equal(labels[number], out)
    np.testing.assert_array_equal(words[0], expected)
    again = np.zeros((1, WORDS), np.int64)
    jpeg.tally(addresses(streams, part), frame(streams[0]), RULE, again)
    np.testing.assert_array_equal(again[0], expected)


def test_tally_stops_where_libjpeg_is_needed():
    first, second = (encoded(pixels(64, 64, seed=seed)) for seed in range(2))
    other = encoded(pixels(64, 64), quality=31)
    for odd in (other, second[: len(second) // 2]):
        words, expected = np.zeros((1, WORDS), np.int64), np.zeros(WORDS, np.int64)
        tiles = addresses([first, odd, second], (0, 0, 64, 64))
        assert jpeg.tally(tiles, frame(first), RULE, words) == 1
        hsi.add(simplejpeg.decode_jpeg(first), RULE, expected)
        np.testing.assert_array_equal(words[0], expected)


def test_values_above_the_maximum():
    rule = rule_for(np.dtype(np.uint8), Parameters(hue_value=0.05), None, 100)
    stream = encoded(pixels(32, 32))
    words = np.zeros((1, WORDS), int)
    with pytest.raises(ValueError, match="between 0 and max_value=100"):
        jpeg.tally(addresses([stream], (0, 0, 32, 32)), frame(stream), rule, words)
