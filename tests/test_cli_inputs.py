from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg._shared.hsi import Parameters
from gpuseg.cli._parser import Parser, UsageError
from gpuseg.cli.inputs import destinations, expand, natural_key, stem
from gpuseg.cli.options import PRESETS, add_parameters, parameters, parse_region


@pytest.fixture
def slides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("s10.svs", "s9.svs", "s1.svs", "other.tif", "[odd].svs"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_quoted_pattern_is_expanded_in_the_order_people_count(slides: Path):
    assert expand(["s*.svs"]) == ["s1.svs", "s9.svs", "s10.svs"]


def test_each_slide_comes_once_where_it_is_named_first(slides: Path):
    assert expand(["s9.svs", "s*.svs", "s9.svs"]) == ["s9.svs", "s1.svs", "s10.svs"]


def test_two_ways_to_write_a_path_are_one_slide_and_two_links_are_two(slides: Path):
    (slides / "case1.svs").symlink_to(slides / "s1.svs")
    assert expand(["s1.svs", "./s1.svs", str(slides / "s1.svs")]) == ["s1.svs"]
    assert expand(["s1.svs", "case1.svs"]) == ["s1.svs", "case1.svs"]


def test_a_file_that_looks_like_a_pattern_is_itself(slides: Path):
    assert expand(["[odd].svs"]) == ["[odd].svs"]


def test_what_does_not_exist_is_left_for_its_own_error(slides: Path):
    assert expand(["no.svs", "https://host/a*.svs"]) == ["no.svs", "https://host/a*.svs"]


def test_a_pattern_without_match_is_an_error(slides: Path):
    with pytest.raises(UsageError, match=r"no file matches the pattern '\*\.ndpi'"):
        expand(["*.ndpi"])


@given(st.lists(st.integers(0, 10**6), unique=True))
def test_natural_order_is_the_order_of_the_numbers(numbers: list[int]):
    names = [f"Slide {number}.svs" for number in sorted(numbers)]
    assert sorted(set(names), key=natural_key) == names


@given(st.text(), st.text())
def test_any_two_names_have_an_order(first: str, second: str):
    a, b = natural_key(first), natural_key(second)
    assert (a < b) + (a == b) + (a > b) == 1


@pytest.mark.parametrize(
    ("slide", "expected"),
    [
        ("a.svs", "a"),
        ("x/CMU-1.ome.tiff", "CMU-1"),
        ("x/6001240_labels.zarr/", "6001240_labels"),
        ("s3://bucket/deep/b.ome.zarr", "b"),
        ("https://host/c.svs?version=2.1", "c"),
        ("v1.2.svs", "v1.2"),
        ("noending", "noending"),
    ],
)
def test_stem(slide: str, expected: str):
    assert stem(slide) == expected


def test_one_slide_may_name_its_output(tmp_path: Path):
    out = str(tmp_path / "l.zarr")
    assert destinations("--labels", out, ["a.svs"], [".zarr", ".tif"]) == [Path(out)]


def test_many_slides_go_to_a_folder_or_by_template(tmp_path: Path):
    folder = f"{tmp_path}/new/"
    paths = destinations("--labels", folder, ["x/a.svs", "x/b.svs"], [".zarr", ".tif"])
    assert paths == [Path(folder, "a.zarr"), Path(folder, "b.zarr")]
    template = f"{tmp_path}/{{stem}}.tif"
    paths = destinations("--labels", template, ["x/a.svs", "x/b.svs"], [".zarr", ".tif"])
    assert paths == [tmp_path / "a.tif", tmp_path / "b.tif"]


def test_many_slides_cannot_share_a_file(tmp_path: Path):
    with pytest.raises(UsageError, match=r"must be a folder or have \{stem\} in its name for 2"):
        destinations("--overlay", str(tmp_path / "o.png"), ["a.svs", "b.svs"], [".png"])


def test_slides_of_one_name_are_told_apart_by_their_folders(tmp_path: Path):
    slides = ["x/a.svs", "y/a.svs"]
    with pytest.raises(UsageError, match=r"for both 'x/a.svs' and 'y/a.svs'; tell them apart"):
        destinations("--overlay", f"{tmp_path}/", slides, [".png"])
    template = f"{tmp_path}/{{parent}}-{{stem}}.png"
    names = [p.name for p in destinations("--overlay", template, slides, [".png"])]
    assert names == ["x-a.png", "y-a.png"]


def test_slides_of_one_stem_are_told_apart_by_their_suffixes(tmp_path: Path):
    slides = ["a.svs", "a.tif"]
    with pytest.raises(UsageError, match="tell them apart"):
        destinations("--overlay", f"{tmp_path}/", slides, [".png"])
    template = f"{tmp_path}/{{name}}.png"
    names = [p.name for p in destinations("--overlay", template, slides, [".png"])]
    assert names == ["a.svs.png", "a.tif.png"]


def test_braces_in_a_slides_name_are_its_own(tmp_path: Path):
    (path,) = destinations("--overlay", f"{tmp_path}/{{stem}}.png", ["{name}.svs"], [".png"])
    assert path.name == "{name}.png"


def test_an_output_is_never_a_slide(slides: Path):
    with pytest.raises(UsageError, match=r"would write over the slide 'other.tif'"):
        destinations("--labels", "other.tif", ["other.tif"], [".zarr", ".tif"])


def test_outputs_have_known_suffixes_and_existing_folders(slides: Path):
    with pytest.raises(UsageError, match=r"--labels must end in .zarr or .tif, got 'l.npy'"):
        destinations("--labels", "l.npy", ["s1.svs"], [".zarr", ".tif"])
    with pytest.raises(UsageError, match="the folder of --labels does not exist: 'nowhere'"):
        destinations("--labels", os.path.join("nowhere", "l.tif"), ["s1.svs"], [".zarr", ".tif"])


@pytest.mark.parametrize("name", ["l.tif", "new/folder/", "./"])
def test_folders_that_cannot_be_written_to_are_refused(slides: Path, monkeypatch, name: str):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UsageError, match="the folder of --labels cannot be written to: '"):
        destinations("--labels", name, ["s1.svs"], [".zarr", ".tif"])


def test_a_file_is_no_folder_for_outputs(slides: Path):
    with pytest.raises(UsageError, match=r"cannot be written to: 'other.tif/labels'"):
        destinations("--labels", "other.tif/labels/", ["s1.svs"], [".zarr", ".tif"])


def test_an_existing_zarr_is_an_output_and_no_folder_for_outputs(tmp_path: Path):
    (tmp_path / "l.zarr").mkdir()
    paths = destinations("--labels", f"{tmp_path}/l.zarr", ["a.svs"], [".zarr"])
    assert paths == [tmp_path / "l.zarr"]


def parse(*words: str) -> tuple[Parameters, Parameters | None]:
    parser = Parser(prog="gpuseg count")
    add_parameters(parser)
    return parameters(parser.parse_args(words))


def test_parameters_default_to_histomicstks():
    assert parse() == (Parameters(0.83, 0.15, 0.05, 0.95, 0.65, 0.35, 0.05), None)


@pytest.mark.parametrize("name", Parameters._fields)
def test_each_parameter_has_its_option(name: str):
    flag = "--" + name.replace("_", "-")
    assert parse(flag, "0.5")[0] == Parameters()._replace(**{name: 0.5}).validate()


def test_presets_are_where_options_start_from():
    positive, negative = parse("--preset", "aperio", "--hue-value", "0.2")
    assert positive == (0.2, 0.5, 0.04, 220 / 255, 175 / 255, 100 / 255, 0.0)
    assert negative is not None
    assert negative.hue_width == 1
    assert parse("--preset", "dab")[0].hue_value == 0.05
    for positive, negative in PRESETS.values():
        positive.validate()
        assert negative is None or negative.validate()


def test_a_counterstain_begins_with_its_first_option():
    assert parse("--negative-hue-value", "0.6")[1] == Parameters(hue_value=0.6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--hue-value", "1.5"], "--hue-value must be between 0 and 1, got 1.5"),
        (["--hue-value", "nan"], "--hue-value must be finite, got nan"),
        (
            ["--intensity-weak-threshold", "0.1"],
            "--intensity-weak-threshold must be at least --intensity-strong-threshold, "
            "got 0.1 < 0.35",
        ),
        (["--negative-hue-width", "-1"], "--negative-hue-width must be at least 0, got -1.0"),
    ],
)
def test_parameters_out_of_range_are_named_as_options(words: list[str], message: str):
    with pytest.raises(UsageError) as caught:
        parse(*words)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,2,3,4", [1, 2, 3, 4]),
        ("-1.0, -1.0, -1.0, -1.0", [-1, -1, -1, -1]),
        ("1 2 3 4", [1, 2, 3, 4]),
        ("left=1, width=.5, units=mm", {"left": 1, "width": 0.5, "units": "mm"}),
    ],
)
def test_regions_in_words(text: str, expected: object):
    assert parse_region(text) == expected


@pytest.mark.parametrize("text", ["", "a,b,c,d", "1,2,3,top=4"])
def test_a_region_that_is_none_is_refused(text: str):
    with pytest.raises(UsageError, match="--region must be numbers"):
        parse_region(text)
