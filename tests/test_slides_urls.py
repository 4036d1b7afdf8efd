"""Slides from HTTP servers, memory and archives."""

from __future__ import annotations

import socket
import threading
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import fsspec
import numpy as np
import pytest
from _slides import smooth_image, whole, write_ome_zarr, write_pyramid
from PIL import Image

from gpuseg.io import SlideError, open_slide


class _Server(SimpleHTTPRequestHandler):
    """Serves files with byte ranges, as object stores do; `plain/` ignores them."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        wanted = self.headers.get("Range")
        ignores = self.path.startswith("/plain/")
        path = self.translate_path(self.path.removeprefix("/plain"))
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError:
            self.send_error(404)
            return
        if wanted and not ignores:
            first, last = wanted.removeprefix("bytes=").split("-")
            part = data[int(first) : int(last or len(data)) + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        else:
            part = data
            self.send_response(200)
        self.send_header("Content-Length", str(len(part)))
        if not ignores:
            self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(part)

    do_HEAD = do_GET


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Folder, and the URL under which it is served."""
    folder = tmp_path_factory.mktemp("served")

    def handler(*arguments):
        return _Server(*arguments, directory=str(folder))

    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_slides_are_read_over_http(served):
    folder, url = served
    path = write_pyramid(folder / "a.tif", smooth_image(300, 421), compression="jpeg")
    assert np.array_equal(whole(f"{url}/a.tif"), whole(path))
    assert np.array_equal(whole(f"{url}/a.tif", 2), whole(path, 2))
    Image.fromarray(smooth_image(40, 50)).save(folder / "a.png")
    assert np.array_equal(whole(f"{url}/a.png"), whole(folder / "a.png"))
    image = smooth_image(100, 90).transpose(2, 0, 1)
    write_ome_zarr(folder / "a.zarr", [image], "cyx", version="0.5", chunks=(1, 64, 64))
    assert np.array_equal(whole(f"{url}/a.zarr"), image.transpose(1, 2, 0))


def test_urls_that_cannot_be_read(served):
    folder, url = served
    with pytest.raises(SlideError, match=r"missing.svs: there is no such file \(404\)"):
        open_slide(f"{url}/missing.svs")
    with pytest.raises(SlideError, match=r"missing\.zarr"):
        open_slide(f"{url}/missing.zarr")
    with pytest.raises(SlideError, match=r"gopher://host/a\.tif: .*gopher"):
        open_slide("gopher://host/a.tif")
    (folder / "a.txt").write_text("no image at all")
    with pytest.raises(SlideError, match="from local files only"):
        open_slide(f"{url}/a.txt")
    with pytest.raises(SlideError, match=r"127.0.0.1:1/a.tif"):
        open_slide("http://127.0.0.1:1/a.tif")


def test_memory_urls_and_chains(tmp_path):
    path = write_pyramid(tmp_path / "a.tif", smooth_image(100, 120), compression="zlib")
    memory = fsspec.filesystem("memory")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "a.tif")
    memory.put(str(path), "/gpuseg-a.tif")
    try:
        assert np.array_equal(whole("memory://gpuseg-a.tif"), whole(path))
        assert np.array_equal(whole(f"file://{path}"), whole(path))
        assert np.array_equal(whole(f"zip://a.tif::file://{tmp_path}/a.zip"), whole(path))
    finally:
        memory.rm("/gpuseg-a.tif")


def test_server_without_byte_ranges(served, monkeypatch):
    folder, url = served
    Image.fromarray(smooth_image(40, 50)).save(folder / "b.png")
    assert np.array_equal(whole(f"{url}/plain/b.png"), whole(folder / "b.png"))
    monkeypatch.setattr("gpuseg.io._bytes._BATCH_BYTES", 1000)
    with pytest.raises(SlideError, match=r"plain/b\.png: the server ignores range requests"):
        open_slide(f"{url}/plain/b.png")
    write_pyramid(folder / "b.tif", smooth_image(300, 421), compression="jpeg")
    with pytest.raises(SlideError, match=r"plain/b\.tif: .*range"):
        open_slide(f"{url}/plain/b.tif")


def test_server_that_fails_for_a_while(served, monkeypatch):
    folder, url = served
    path = write_pyramid(folder / "c.tif", smooth_image(300, 421), compression="jpeg")
    # Of this module alone: threads of other tests may be asleep.
    monkeypatch.setattr("gpuseg.io._bytes.time", SimpleNamespace(sleep=lambda _: None))
    slide = open_slide(f"{url}/c.tif")
    fetch = slide._reader._source._filesystem.cat_ranges
    calls = []

    def flaky(paths, *arguments, **options):
        calls.append(len(paths))
        answers = fetch(paths, *arguments, **options)
        return [ConnectionError("gone")] * len(answers) if len(calls) < 3 else answers

    monkeypatch.setattr(slide._reader._source._filesystem, "cat_ranges", flaky)
    assert np.array_equal(slide.read_region(0, 0, 300, 421), whole(path))
    calls.clear()
    monkeypatch.setattr(
        slide._reader._source._filesystem, "cat_ranges", lambda paths, *_, **__: [OSError("gone")]
    )
    with pytest.raises(SlideError, match=r"c\.tif: OSError: gone"):
        slide.read_region(0, 0, 300, 421)


def test_server_that_refuses_connections_is_no_missing_file():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        port = taken.getsockname()[1]
        with pytest.raises(SlideError, match=f"a.svs: .*{port}") as refused:
            open_slide(f"http://127.0.0.1:{port}/a.svs")
    assert "(404)" not in str(refused.value)
