"""The rules of the house: light import, namesakes, sizes, documented and exampled public names."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import gpuseg

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path(gpuseg.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "_version.py")


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


def public_functions() -> list[tuple[str, object]]:
    """Every public function and class that a public submodule defines or re-exports."""
    found = []
    for submodule in gpuseg._SUBMODULES:
        module = getattr(gpuseg, submodule)
        found += [(f"{submodule}.{name}", getattr(module, name)) for name in module.__all__]
    return found


def test_import_is_light():
    heavy = ("cupy", "dask", "numba", "distributed", "skimage", "scipy", "zarr")
    assert run(f"import gpuseg, sys; print([n for n in {heavy} if n in sys.modules])") == "[]"


def test_arrays_need_neither_dask_nor_decoders():
    """A machine with a GPU and little else runs all that has a kernel."""
    absent = ("dask", "distributed", "zarr", "imagecodecs", "simplejpeg", "openslide", "fsspec")
    names = ("measure", "morphology", "segmentation", "positive_pixel_count")
    run(
        f"import sys; sys.modules.update(dict.fromkeys({absent}))\n"
        f"import gpuseg\nfor name in {names}: getattr(gpuseg, name)"
    )


def test_lazy_names():
    assert set(gpuseg._SUBMODULES) <= set(dir(gpuseg))
    assert gpuseg.__version__
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        gpuseg.colour  # noqa: B018


def test_public_names_are_few():
    assert len(gpuseg.__all__) <= 35


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_size_and_docstring(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 500
    assert ast.get_docstring(ast.parse(text)), "a module says what it is for"


def test_files_are_short():
    lengths = sorted(len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES)
    assert lengths[len(lengths) // 2] <= 150


def test_functions_fit_a_screen():
    lengths = sorted(
        node.end_lineno - node.body[0].lineno + 1
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno
    )
    assert lengths[int(len(lengths) * 0.9)] <= 40


PUBLIC = dict(public_functions())


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_is_documented_with_an_example(name):
    thing = PUBLIC[name]
    if not (inspect.isfunction(thing) or inspect.isclass(thing)):
        pytest.skip("a constant")
    assert inspect.getdoc(thing), f"{name} has no docstring"
    raised = inspect.isclass(thing) and issubclass(thing, Exception)
    assert raised or ">>>" in inspect.getdoc(thing), f"{name} has no example"
    if inspect.isfunction(thing):
        hints = thing.__annotations__
        missing = [p for p in (*inspect.signature(thing).parameters, "return") if p not in hints]
        assert not missing, f"{name} leaves {missing} untyped"


def test_kernels_and_launchers_are_namesakes():
    kernels = {path.stem for path in (ROOT / "kernels").glob("*.cu")}
    modules = [p for p in (PACKAGE / "_cuda").glob("*.py") if not p.stem.startswith("_")]
    # The others delegate to cupyx and cuCIM, or to arithmetic of whole arrays.
    launchers = {p.stem for p in modules if "_source import" in p.read_text(encoding="utf-8")}
    assert kernels == launchers
    launchers |= {p.stem for p in modules}
    references = {p.stem for p in (PACKAGE / "_cpu").glob("*.py") if not p.stem.startswith("_")}
    assert launchers <= references, "every kernel has a CPU reference of its name"


@pytest.mark.parametrize("floor", ["_cpu", "_cuda", "_dask"])
def test_every_noun_has_tests(floor):
    tests = sorted((ROOT / "tests").glob("test_*.py"))
    tested = " ".join(path.stem + path.read_text(encoding="utf-8") for path in tests)
    nouns = [p.stem for p in (PACKAGE / floor).glob("*.py") if not p.stem.startswith("_")]
    missing = [noun for noun in nouns if noun not in tested]
    assert not missing


def test_every_module_imports_without_a_gpu():
    for info in pkgutil.walk_packages([str(PACKAGE)], "gpuseg."):
        if ".__main__" in info.name or "._cuda" in info.name:
            continue
        __import__(info.name)
