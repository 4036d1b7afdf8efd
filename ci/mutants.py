"""Plant mistakes in a kernel and see whether its tests find them.

`python ci/mutants.py label` changes one place of kernels/label.cu at a time (a barrier dropped, a
plain store for an atomic, a bound off by one, a comparison swapped, ...) and runs the emulated
tests on each. A mutant that no test finds is printed; one that cannot be found, because it computes
the same, is listed with the reason in `equivalent_mutants.toml` and not counted. With `--write` the
file's row in kernels/MUTANTS.md is replaced.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TABLE = ROOT / "kernels" / "MUTANTS.md"
EQUIVALENT = HERE / "equivalent_mutants.toml"
FOLDER = "GPUSEG_MUTANT_KERNELS"
TIMEOUT_S = 300
MEMORY = 8 << 30

# Files whose emulated tests are run for a kernel file.
TESTS = {
    "label": ("test_label_cuda.py",),
    "scan": ("test_label_cuda.py",),
    "hsi": ("test_hsi_cuda.py", "test_hsi.py"),
    "colour_histogram": ("test_colour_histogram.py",),
    "edt": ("test_edt.py",),
    "regionprops": ("test_regionprops_cuda.py",),
    "regionprops_windows": ("test_regionprops_cuda.py",),
    "region_rows": ("test_regionprops_cuda.py",),
    "watershed": ("test_watershed_cuda.py",),
}

# What a mistake is: its name, where it can be made, and what it makes of that.
OPERATORS = (
    ("barrier dropped", r"__syncthreads\(\);|__syncwarp\([^)]*\);", ";"),
    ("plain for atomic", r"\batomic(?=(?:Add|Min|Max|And|Or|Xor|Exch)\()", "mutant"),
    ("volatile dropped", r"\bvolatile\s+", ""),
    ("half a mask", r"\bFULL\b(?=,)", "0xffffu"),
    ("bound off by one", r" < ", " <= "),
    ("bound off by one", r" <= ", " < "),
    ("bound off by one", r" > ", " >= "),
    ("bound off by one", r" >= ", " > "),
    ("comparison swapped", r" < ", " > "),
    ("comparison swapped", r" > ", " < "),
    ("comparison swapped", r" == ", " != "),
    ("comparison swapped", r" != ", " == "),
    ("and for or", r" \|\| ", " && "),
    ("or for and", r" && ", " || "),
    ("bits and for or", r" \| ", " & "),
    ("bits or for and", r" & (?=[\w(~])", " | "),
    ("sign swapped", r" \+ ", " - "),
    ("sign swapped", r" - ", " + "),
    ("product for quotient", r" / ", " * "),
    ("quotient for remainder", r" % ", " / "),
    ("shift reversed", r" << ", " >> "),
    ("shift reversed", r" >> ", " << "),
    ("constant off by one", r"(?<= - )1\b(?!\.)", "2"),
    ("constant off by one", r"(?<= \+ )1\b(?!\.)", "2"),
    ("constant off by one", r"\b31\b", "30"),
    ("constant off by one", r"\b32\b", "31"),
    ("leave dropped", r"\b(?:continue|break|return);", ";"),
    ("step reversed", r"\+\+(?=[;),])", "--"),
    ("sum reversed", r" \+= ", " -= "),
    ("bits kept", r" \|= ", " &= "),
    ("bits kept", r" &= ~", " &= "),
    ("branch always", r"\bif \((?=.)", "if (true || "),
    ("branch never", r"\bif \((?=.)", "if (false && "),
)

# Atomics without the atomicity.
_NEW = {
    "Add": "old + v",
    "Min": "v < old ? v : old",
    "Max": "v > old ? v : old",
    "And": "old & v",
    "Or": "old | v",
    "Xor": "old ^ v",
    "Exch": "v",
}
PLAIN = "".join(
    f"\ntemplate <class T> __device__ T mutant{name}(T* p, T v)"
    f"\n{{ const T old = *p; *p = {new}; return old; }}"
    for name, new in _NEW.items()
)


class Mutant(NamedTuple):
    """One change of one file."""

    file: str
    start: int
    end: int
    text: str
    operator: str
    line: int
    function: str


class Verdict(NamedTuple):
    """What the tests say: "killed" (and by what), "survived" or "invalid"."""

    mutant: Mutant
    outcome: str
    reason: str = ""


def kernel_file(name: str) -> Path:
    """Path of `name`, a kernel or a header of kernels."""
    found = [ROOT / "kernels" / f"{name}{suffix}" for suffix in (".cu", ".cuh")]
    return next(path for path in found if path.is_file())


def _masked(text: str) -> str:
    """Same text with blanks for comments and for lines of the preprocessor."""
    pattern = r"//[^\n]*|/\*.*?\*/|^\s*#[^\n]*|\btemplate\b[^\n]*?>(?= )|__launch_bounds__\([^)]*\)"
    flags = re.DOTALL | re.MULTILINE
    return re.sub(pattern, lambda found: re.sub(r"[^\n]", " ", found[0]), text, flags=flags)


def _functions(masked: str) -> list[tuple[int, str]]:
    pattern = r"__(?:global|device)__[^;{}]*?(\w+)\([^;{}]*\)\s*\{"
    return [(found.end(), found[1]) for found in re.finditer(pattern, masked)]


def mutants(name: str) -> Iterator[Mutant]:
    """Every single change that an operator can make within a function of the file."""
    text = kernel_file(name).read_text(encoding="utf-8")
    masked = _masked(text)
    functions = _functions(masked)
    for operator, pattern, new in OPERATORS:
        for found in re.finditer(pattern, masked):
            inside = [title for start, title in functions if start <= found.start()]
            if not inside:
                continue
            replaced = found.expand(new) if "\\" in new else new
            end = found.end()
            if operator.startswith("branch"):
                end = _closing(masked, found.end())
                replaced += "(" + text[found.end() : end] + ")"
            line = text.count("\n", 0, found.start()) + 1
            yield Mutant(name, found.start(), end, replaced, operator, line, inside[-1])


def _closing(text: str, start: int) -> int:
    """Where the parenthesis that is open at `start` closes."""
    depth = 1
    for at in range(start, len(text)):
        depth += (text[at] == "(") - (text[at] == ")")
        if depth == 0:
            return at
    raise ValueError(f"no parenthesis closes the one before position {start}")


def chosen(name: str, count: int, seed: int) -> list[Mutant]:
    """Up to `count` mutants, in turn of each function, of as many kinds as there are."""
    draw = random.Random(seed)
    by_function: dict[str, list[Mutant]] = {}
    for mutant in mutants(name):
        by_function.setdefault(mutant.function, []).append(mutant)
    turns = []
    for some in by_function.values():
        draw.shuffle(some)
        seen: Counter[str] = Counter()
        for mutant in some:
            turns.append((seen[mutant.operator], seen.total(), mutant))
            seen[mutant.operator] += 1
    turns.sort(key=lambda turn: turn[:2])
    return [mutant for *_, mutant in turns][: count or None]


def equivalents(name: str) -> dict[tuple[str, str], str]:
    """Line of the text and operator, to why no test can find it."""
    stored = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))
    return {
        (entry["line"].strip(), entry["becomes"].strip()): entry["why"]
        for entry in stored.get(name, [])
    }


def change(mutant: Mutant) -> tuple[str, str]:
    """The line (or lines) before and after."""
    text = kernel_file(mutant.file).read_text(encoding="utf-8")
    first = text.rfind("\n", 0, mutant.start) + 1
    last = text.find("\n", mutant.end)
    after = text[first : mutant.start] + mutant.text + text[mutant.end : last]
    return text[first:last].strip(), after.strip()


def run(mutant: Mutant, cache: Path) -> Verdict:
    """Run the tests on a copy of the kernels with the mutant in it."""
    verdict = _tested(mutant, cache)
    title = f"{mutant.file}:{mutant.line} {mutant.operator}: {verdict.outcome}, {verdict.reason}"
    print(title, file=sys.stderr, flush=True)
    return verdict


def check_unchanged(name: str, cache: Path) -> None:
    """Refuse to count where the tests fail without any mutant."""
    verdict = _tested(Mutant(name, 0, 0, "", "nothing changed", 0, ""), cache)
    if verdict.outcome != "survived":
        sys.exit(f"the tests of {name} fail without a mutant: {verdict.reason}")


def _tested(mutant: Mutant, cache: Path) -> Verdict:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "kernels"
        shutil.copytree(ROOT / "kernels", folder)
        path = folder / kernel_file(mutant.file).name
        text = path.read_text(encoding="utf-8")
        path.write_text(text[: mutant.start] + mutant.text + text[mutant.end :], encoding="utf-8")
        common = folder / "common.cuh"
        common.write_text(common.read_text(encoding="utf-8") + PLAIN, encoding="utf-8")
        environment = os.environ | {
            FOLDER: str(folder),
            "GPUSEG_EMULATOR_CACHE": str(cache),
            "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
        }
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "emulator", "-p", "mutants"]
        command += ["-p", "no:cacheprovider", *(f"tests/{file}" for file in TESTS[mutant.file])]
        return _verdict(mutant, command, environment)


def _verdict(mutant: Mutant, command: Sequence[str], environment: dict[str, str]) -> Verdict:
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return Verdict(mutant, "killed", "no end")
    return judged(mutant, done.returncode, done.stdout)


def judged(mutant: Mutant, code: int, output: str) -> Verdict:
    """What pytest's exit and output say."""
    if code == 0:
        return Verdict(mutant, "survived")
    if "CompileError" in output:
        return Verdict(mutant, "invalid", "does not compile")
    if code != 1:
        crash = code < 0 or "Fatal Python error" in output
        return Verdict(
            mutant, "killed" if crash else "invalid", "crash" if crash else output[-500:]
        )
    rules = re.findall(r"KernelFault: [^:]+(?:<[^>]*>)?: ([a-z_ ]+)", output)
    return Verdict(mutant, "killed", rules[0].partition(" at ")[0] if rules else "wrong result")


def pytest_configure(config: pytest.Config) -> None:
    """As a plugin of pytest: let launchers read the mutant's folder."""
    from hypothesis import Phase, settings

    from gpuseg._cuda import _source

    # A wrong number of objects may ask for all the memory there is.
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    # A failure is enough; nobody reads the smallest example.
    settings.register_profile("mutants", phases=[Phase.explicit, Phase.generate], database=None)
    settings.load_profile("mutants")
    folder = Path(os.environ[FOLDER])
    _source.kernels_folder = lambda: folder


def row(name: str, count: int, verdicts: Sequence[Verdict]) -> str:
    """Table row of one file."""
    killed = [one for one in verdicts if one.outcome == "killed"]
    alive = [one for one in verdicts if one.outcome == "survived"]
    found = len(survivors(name, verdicts))
    total = len(killed) + found
    rate = 100 * len(killed) / total if total else 100.0
    reasons = Counter(one.reason for one in killed)
    how = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    same = len(alive) - found
    return f"| {name} | {count} | {total} | {len(killed)} | {rate:.1f} % | {same} | {how} |"


def survivors(name: str, verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Verdicts on mutants that compute something else, and that no test has found."""
    known = equivalents(name)
    alive = [one for one in verdicts if one.outcome == "survived"]
    return [one for one in alive if change(one.mutant) not in known]


def told(verdict: Verdict) -> str:
    """Where a mutant is, and what it changes."""
    before, after = change(verdict.mutant)
    title = f"{verdict.mutant.file}:{verdict.mutant.line} in {verdict.mutant.function}"
    return f"{title}, {verdict.mutant.operator}\n  - {before}\n  + {after}"


HEAD = """\
# How strong the kernels' tests are

Mistakes planted in each file, one at a time, by `ci/mutants.py --write`: a part of all that its
operators can make, drawn in turn of functions and kinds. Killed: the emulated tests fail.
Equivalent ones compute the same, each with its reason in `ci/equivalent_mutants.toml`; they are not
counted, nor are those that do not compile.

| file | possible | planted | killed | rate | equivalent | found by |
|---|---:|---:|---:|---:|---:|---|
"""


def write(new: str) -> None:
    """Put a row into the table, in place of the file's earlier one."""
    name = new.split("|")[1]
    lines = TABLE.read_text(encoding="utf-8").splitlines() if TABLE.exists() else []
    rows = [line for line in lines if line.startswith("| ") and line.split("|")[1] != name]
    kept = [line for line in rows if not line.startswith("| file |")]
    TABLE.write_text(HEAD + "\n".join(sorted([*kept, new])) + "\n", encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=list(TESTS), help="kernel files (default: all)")
    parser.add_argument("--count", type=int, default=48, help="of each; 0 for all (default: 48)")
    parser.add_argument("--seed", type=int, default=0, help="which ones (default: 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="at the same time")
    parser.add_argument("--list", action="store_true", help="print the mutants, run nothing")
    parser.add_argument("--write", action="store_true", help="put the row into kernels/MUTANTS.md")
    asked = parser.parse_args()
    for name in asked.names:
        some = chosen(name, asked.count, asked.seed)
        if asked.list:
            for mutant in some:
                print(f"{mutant.line} {mutant.function}, {mutant.operator}: {change(mutant)[1]}")
            continue
        with tempfile.TemporaryDirectory() as cache, ThreadPoolExecutor(asked.jobs) as pool:
            check_unchanged(name, Path(cache))
            verdicts = list(pool.map(partial(run, cache=Path(cache)), some))
        found = row(name, len(list(mutants(name))), verdicts)
        print(found, *(f"\nsurvived: {told(one)}" for one in survivors(name, verdicts)), flush=True)
        if asked.write:
            write(found)


if __name__ == "__main__":
    main()
