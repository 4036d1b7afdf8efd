"""LZW against imagecodecs' encoder; damaged streams are errors, never a crash."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
from _slides import smooth_image
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuseg._cpu.lzw import decode


@settings(deadline=None)  # the first call compiles
@given(st.binary(max_size=3000), st.integers(1, 40))
def test_what_was_encoded_comes_back(data, repeats):
    data = data * repeats
    encoded = imagecodecs.lzw_encode(data)
    assert decode(encoded, len(data)) == data
    assert decode(encoded, len(data) // 2) == data[: len(data) // 2]


@pytest.mark.parametrize("values", [1, 2, 3, 200, 256])
def test_tables_that_fill_up(values):
    data = np.random.default_rng(0).integers(0, values, 100_000, dtype=np.uint8).tobytes()
    assert decode(imagecodecs.lzw_encode(data), len(data)) == data


def test_streams_of_1987_read_as_pillow_reads_them(test_data):
    from PIL import Image

    from gpuseg.io import open_slide

    path = test_data / "odd" / "libtiffpic" / "quad-lzw.tif"
    path = path if path.exists() else test_data / "odd/image-tiff/libtiffpic/quad-lzw.tif"
    with Image.open(path) as image, open_slide(path) as slide:
        expected = np.asarray(image)
        assert np.array_equal(slide.read_region(0, 0, *slide.shape[:2]), expected)


def pack(codes, old=False):
    """Codes of nine bits, packed from either end of the bytes."""
    bits = [code >> (place if old else 8 - place) & 1 for code in codes for place in range(9)]
    return np.packbits(np.array(bits, bool), bitorder="little" if old else "big").tobytes()


@pytest.mark.parametrize("old", [False, True])
def test_codes_by_hand(old):
    # Clear, "a", "b", "ab", the string that is just being made ("aba"), end.
    assert decode(pack([256, 97, 98, 258, 260, 257], old), 7) == b"ababab"[:4] + b"aba"


@pytest.mark.parametrize(
    ("codes", "reason"),
    [
        ([256, 97, 259], "stands for nothing"),
        ([256, 300], "stands for nothing"),
        ([256, 258], "stands for nothing"),
        ([256, 97, 257], "ends after 1 of 5"),
        ([256, 97, 98], "ends after 2 of 5"),
        ([], "ends after 0 of 5"),
    ],
)
def test_damage_is_named(codes, reason):
    with pytest.raises(ValueError, match=reason):
        decode(pack(codes), 5)


def test_damaged_streams_never_crash():
    data = smooth_image(128, 128).tobytes()
    encoded = np.frombuffer(imagecodecs.lzw_encode(data), np.uint8)
    rng = np.random.default_rng(0)
    outcomes = set()
    for trial in range(500):
        damaged = encoded.copy()
        places = rng.integers(0, len(encoded), 1 + trial % 40)
        damaged[places] = rng.integers(0, 256, len(places))
        try:
            outcomes.add(len(decode(damaged.tobytes(), len(data))))
        except ValueError:
            outcomes.add("error")
    assert outcomes == {"error", len(data)}
