"""Compiled code on disk is never older than its sources."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gpuseg._cpu
from gpuseg._cpu import _jit

CALLER = (
    "from ._callee import double\nfrom ._jit import jit\n@jit\ndef f(x):\n    return double(x)\n"
)
CALLEE = "from ._jit import jit\n@jit\ndef double(x):\n    return {} * x\n"


def test_a_changed_callee_in_another_file_is_compiled_again(tmp_path):
    package = tmp_path / "floor"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "_jit.py").write_text(Path(_jit.__file__).read_text())
    (package / "caller.py").write_text(CALLER)
    for factor in (2, 3):
        (package / "_callee.py").write_text(CALLEE.format(factor))
        # Without Python's own compiled files, which are stale where a second sees two changes.
        run = [sys.executable, "-B", "-c", "from floor.caller import f; print(f(7))"]
        found = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert int(found.stdout) == 7 * factor


def test_the_floor_compiles_in_this_way_alone():
    folder = Path(gpuseg._cpu.__file__).parent
    others = [
        path.name
        for path in folder.glob("*.py")
        if path.name != "_jit.py" and "njit" in path.read_text(encoding="utf-8")
    ]
    assert not others
