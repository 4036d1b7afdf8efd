"""Which reader a path or URL needs, by what the file holds rather than by its name."""

from __future__ import annotations

import os
import re

from gpuseg.io._bytes import ByteSource, LocalFile, RemoteFile
from gpuseg.io._reader import Reader, SlideError

_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*(://|::)")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ZARR_NAMES = ("zarr.json", ".zattrs", ".zgroup", ".zarray")


def open_reader(name: str) -> Reader:
    """Reader of the file, folder or URL `name`.

    Raises
    ------
    SlideError
        If there is none, or it cannot be opened.
    """
    if _URL.match(name):
        return _open_url(name)
    if not os.path.exists(name):
        raise SlideError(f"{name}: there is no such file")
    if os.path.isdir(name):
        if not any(os.path.exists(os.path.join(name, each)) for each in _ZARR_NAMES):
            raise SlideError(f"{name}: this is a directory without an OME-Zarr image, not a slide")
        return _zarr(name)
    if not os.path.isfile(name):
        raise SlideError(f"{name}: this is no regular file")
    try:
        source = LocalFile(name)
    except OSError as error:
        raise SlideError(f"{name}: {error.strerror}") from error
    return _open_source(source, local=True)


def _zarr(name: str) -> Reader:
    from gpuseg.io._ome_zarr import OmeZarrReader

    return OmeZarrReader(name)


def _open_url(url: str) -> Reader:
    import fsspec

    bare = url.split("?", 1)[0].rstrip("/")
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        # A folder has no bytes of its own: over HTTP only its name or its metadata tell.
        if bare.endswith(".zarr") or any(
            filesystem.exists(f"{path.rstrip('/')}/{each}") for each in _folder_names(bare)
        ):
            return _zarr(url)
        source = RemoteFile(url, filesystem, path)
    except SlideError:
        raise
    except FileNotFoundError as error:
        raise SlideError(f"{url}: {_why_missing(error)}") from error
    except Exception as error:  # whatever the protocol's package raises
        raise SlideError(f"{url}: {type(error).__name__}: {error}") from error
    return _open_source(source, local=False)


def _why_missing(error: FileNotFoundError) -> str:
    """Every failure of HTTP is to fsspec a missing file; its cause tells which."""
    cause = error.__cause__
    if cause is None or isinstance(cause, FileNotFoundError) or getattr(cause, "status", 0) == 404:
        return "there is no such file (404)"
    return f"{type(cause).__name__}: {cause}"


def _folder_names(url: str) -> tuple[str, ...]:
    # A name with a suffix is a file: no request is spent on asking whether it is a folder.
    return () if "." in url.rsplit("/", 1)[-1] else _ZARR_NAMES


def _open_source(source: ByteSource, local: bool) -> Reader:
    try:
        reader = _by_content(source, local)
    except BaseException:
        source.close()
        raise
    return reader


def _by_content(source: ByteSource, local: bool) -> Reader:
    from gpuseg.io._plain import open_plain
    from gpuseg.io._tiff import TiffReader

    name = source.name
    if source.size == 0:
        raise SlideError(f"{name}: the file is empty")
    head = next(source.read([(0, 16)]))
    if head[:4] in _TIFF:
        tiff = TiffReader(source)
        if tiff.vendor is None:
            return tiff
        return _openslide(source, local, tiff.vendor)
    if head[:4] == b"PK\x03\x04":
        if not local:
            raise SlideError(f"{name}: a zipped OME-Zarr is read from a local file only")
        source.close()
        return _zarr(name)
    # An MRXS slide is a JPEG thumbnail beside a folder of data.
    if not (local and name.lower().endswith(".mrxs")):
        plain = open_plain(source)
        if plain is not None:
            return plain
    return _openslide(source, local, None)


def _openslide(source: ByteSource, local: bool, vendor: str | None) -> Reader:
    from gpuseg.io._openslide import OpenSlideReader, detect

    if not local:
        what = (
            f"{vendor} slides are" if vendor else "no image of a known kind; vendors' formats are"
        )
        raise SlideError(f"{source.name}: {what} read by OpenSlide, from local files only")
    if vendor is None and detect(source.name) is None:
        head = next(source.read([(0, 8)]))
        raise SlideError(f"{source.name}: not an image of a known kind (it starts with {head!r})")
    source.close()
    return OpenSlideReader(source.name)
