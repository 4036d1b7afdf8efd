"""Which reader a path or URL needs, by what the file holds rather than by its name."""

from __future__ import annotations

import os
import re

from gpuseg.io._bytes import ByteSource, LocalFile, RemoteFile
from gpuseg.io._reader import Reader, SlideError

_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*(://|::)")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def open_reader(name: str) -> Reader:
    """Reader of the file, folder or URL `name`.

    Raises
    ------
    SlideError
        If there is none, or it cannot be opened.
    """
    if _URL.match(name):
        return _open_source(_remote(name))
    if not os.path.exists(name):
        raise SlideError(f"{name}: there is no such file")
    if os.path.isdir(name):
        raise SlideError(f"{name}: this is a directory, not a slide")
    try:
        source = LocalFile(name)
    except OSError as error:
        raise SlideError(f"{name}: {error.strerror}") from error
    return _open_source(source)


def _remote(url: str) -> RemoteFile:
    import fsspec

    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        return RemoteFile(url, filesystem, path)
    except SlideError:
        raise
    except FileNotFoundError as error:
        raise SlideError(f"{url}: there is no such file (404)") from error
    except Exception as error:  # whatever the protocol's package raises
        raise SlideError(f"{url}: {type(error).__name__}: {error}") from error


def _open_source(source: ByteSource) -> Reader:
    from gpuseg.io._tiff import TiffReader

    try:
        if source.size == 0:
            raise SlideError(f"{source.name}: the file is empty")
        head = next(source.read([(0, 16)]))
        if head[:4] in _TIFF:
            return TiffReader(source)
        raise SlideError(f"{source.name}: not an image of a known kind (starts with {head[:8]!r})")
    except BaseException:
        source.close()
        raise
