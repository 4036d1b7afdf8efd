"""Names and versions of functions: edited code is another step, and the same code the same one."""

from __future__ import annotations

import dis
import inspect
import os
import re
import textwrap
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any

import xxhash

_PLAIN = (bool, int, float, complex, str, bytes, type(None))


def name_of(thing: Any) -> str:
    """Module and qualified name; a script's functions are named after its file.

    >>> name_of(name_of)
    'gpuseg.pipeline._versions.name_of'
    """
    module = thing.__module__
    if module == "__main__":
        code = getattr(thing, "__code__", None)
        file = getattr(code, "co_filename", "") or ""
        module = os.path.splitext(os.path.basename(file))[0] or module
    name = f"{module}.{thing.__qualname__}".replace(".<locals>", "")
    return re.sub(r"[^\w.-]", "_", name)


@lru_cache(maxsize=4096)
def source_of(function: FunctionType) -> str:
    """Source without decorators.

    Read when a step is made, for a file that is edited while its code runs has another text.

    Raises
    ------
    TypeError
        If there is none: built in, compiled, or typed into a prompt that keeps no text.
    """
    try:
        lines = textwrap.dedent(inspect.getsource(function)).splitlines()
    except (OSError, TypeError) as error:
        raise TypeError(
            f"{name_of(function)} has no source that could be hashed; pin what it is: "
            "step(version='1')(function)"
        ) from error
    starts = (n for n, line in enumerate(lines) if re.match(r"(async )?def |class ", line.strip()))
    return "\n".join(line.rstrip() for line in lines[next(starts, 0) :])


@lru_cache(maxsize=4096)
def version_of(function: FunctionType) -> str:
    """Hash of a function's source, of what it captured, and of what it uses of its own file."""
    parts = sorted(set(_parts(function, set())))
    return xxhash.xxh3_64_hexdigest("\n\n".join(parts).encode())


def _parts(function: FunctionType, seen: set[int]) -> Iterator[str]:
    """Texts of a function and all that it uses; each only once, however they call each other."""
    if id(function) in seen:
        return
    seen.add(id(function))
    yield f"{function.__qualname__}\n{source_of(function)}"
    code = function.__code__
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    captured = {name: cell.cell_contents for name, cell in cells if _filled(cell)}
    used = {n: function.__globals__[n] for n in _globals(code) if n in function.__globals__}
    for name, value in {**used, **captured}.items():
        inner = getattr(value, "function", value) if hasattr(value, "__gpuseg_step__") else value
        inner = inspect.unwrap(inner) if callable(inner) else inner
        if isinstance(inner, type) and inner.__module__ == function.__module__:
            yield from _class_parts(inner, function, seen)
        elif isinstance(inner, FunctionType):
            if inner.__code__.co_filename == code.co_filename:
                yield from _parts(inner, seen)
            elif name in captured:
                yield f"{name} = {name_of(inner)}"
        elif _plain(value) or name in captured:
            yield f"{name} = {_written(function, name, value)}"


def _class_parts(kind: type, function: FunctionType, seen: set[int]) -> Iterator[str]:
    """Texts of a class by its functions: of scripts the source of a class itself is not found."""
    file = function.__code__.co_filename
    for name, value in vars(kind).items():
        inner = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if isinstance(inner, FunctionType) and inner.__code__.co_filename == file:
            yield from _parts(inner, seen)
        elif _plain(value) and not name.startswith("__"):
            yield f"{kind.__qualname__}.{name} = {_written(function, name, value)}"


def _written(function: FunctionType, name: str, value: Any) -> str:
    """A value as it is in keys: the same in all processes, which `repr` of a set is not."""
    from gpuseg.pipeline._keys import line

    try:
        return line(value, [])
    except TypeError as error:
        raise TypeError(f"{name_of(function)} captured {name!r}: {error}") from error


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:  # a name that is not bound yet
        return False
    return True


def _plain(value: Any) -> bool:
    if type(value) in (tuple, frozenset):
        return all(_plain(each) for each in value)
    return type(value) in _PLAIN


def _globals(code: CodeType) -> set[str]:
    """Names that the code looks up in its module, inner functions included."""
    names = {each.argval for each in dis.get_instructions(code) if each.opname == "LOAD_GLOBAL"}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _globals(constant)
    return names
