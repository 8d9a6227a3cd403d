"""Which source an argument stands for, and what a list may say."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from sacvit_deploy.commands.saving import saved_name
from sacvit_deploy.errors import UsageError
from sacvit_deploy.sources.arguments import file_source, to_sources
from sacvit_deploy.sources.frames import ImageFile, Refused, Source
from sacvit_deploy.sources.live import Camera, Stream
from sacvit_deploy.sources.pipes import Pipe
from sacvit_deploy.sources.video import Recording
from sacvit_deploy.sources.web import WebImage
from tests.web_servers import pictures

MP4 = b"\0\0\0\x20ftypisom" + bytes(20)


def only(argument: str) -> Source:
    """The single source of an argument, about which nothing is to be said."""
    notes: list[str] = []
    (source,) = to_sources([argument], notes.append)
    assert notes == []
    return source


def refusal(*arguments: str) -> str:
    with pytest.raises(UsageError) as caught:
        to_sources(arguments, print)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the process is in, with an image."""
    shutil.copy(pictures()[0], tmp_path / "a.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_kind(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "clip.mp4").write_bytes(MP4)
    assert only("a.jpg") == ImageFile(Path("a.jpg"))
    assert only("none.jpg") == ImageFile(Path("none.jpg"))  # its reader says that it is missing
    assert only("clip.mp4") == Recording("clip.mp4", "clip.mp4")
    assert only("-") == Pipe("-")
    assert only("pipe") == Pipe("pipe")
    assert only("0") == Camera("0")
    assert only("/dev/video7") == Camera("/dev/video7")
    assert only("rtsp://me:secret@host/s").name == "rtsp://me:***@host/s"
    assert only("http://host/a.JPG?x=.mp4") == WebImage("http://host/a.JPG?x=.mp4")
    assert only("https://host/clip.mp4") == Recording("https://host/clip.mp4", "https://host/clip.mp4")
    assert only("http://host/live.m3u8") == Stream("http://host/live.m3u8")
    assert only("HTTP://host/whatever") == Stream("http://host/whatever")  # alone, it may be one
    assert only("HTTP://host/clip.mp4") == Recording("http://host/clip.mp4", "http://host/clip.mp4")
    assert to_sources(["http://host/whatever", "a.jpg"], print)[0] == WebImage("http://host/whatever")


def test_what_exists_is_a_file(folder: Path) -> None:
    for name in ("0", "@a", "-"):
        shutil.copy("a.jpg", name)
        assert only(f"./{name}") == ImageFile(Path(name))
    assert only("0") == ImageFile(Path("0"))
    assert only("@a") == ImageFile(Path("@a"))
    assert only("-") == Pipe("-")


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("clip", MP4, Recording),
        ("clip.dat", b"\x1aE\xdf\xa3" + bytes(12), Recording),
        ("clip.avi", b"RIFF\0\0\0\0AVI LIST", Recording),
        ("clip.ts", b"G" + bytes(15), Recording),  # a weak sign, and the name
        ("clip.mjpeg", b"\xff\xd8\xff\xe0" + bytes(12), ImageFile),
        ("photo.mp4", b"\xff\xd8\xff\xe0" + bytes(12), ImageFile),
        ("photo", b"\x89PNG\r\n\x1a\n" + bytes(8), ImageFile),
        ("photo.webp", b"RIFF\0\0\0\0WEBPVP8 ", ImageFile),
        ("photo.heic", b"\0\0\0\x20ftypheic" + bytes(4), ImageFile),
        ("empty.mp4", b"", Recording),
        ("notes.md", b"# notes", ImageFile),
    ],
)
def test_a_file_is_told_by_its_content(tmp_path: Path, name: str, head: bytes, kind: type) -> None:
    (tmp_path / name).write_bytes(head)
    assert type(file_source(tmp_path / name)) is kind


def test_a_live_source_is_alone(folder: Path) -> None:
    said = "camera 0 is live and never ends by itself, so it must be the only source; start a process for each"
    assert refusal("a.jpg", "0") == f"{said} (2 sources here)"
    assert refusal("rtsp://a/b", "rtsp://c/d").startswith("rtsp://a/b is live")


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("http:/127.0.0.1/x.jpg", "an address has two slashes after http:"),
        ("ftp://host/a.jpg", "addresses of ftp are not read; there are http, https, rtsp and rtsps"),
        ("file:///a.jpg", "addresses of file are not read; give the file's path"),
        ("http://", "is no address of the form http://HOST/PATH"),
        ("http://[bad/a.jpg", "is no address of the form http://HOST/PATH"),
        ("http://host:99999/a.jpg", "is no address of the form http://HOST/PATH"),
    ],
)
def test_addresses_that_are_none(argument: str, said: str) -> None:
    assert refusal(argument) == f"{argument}: {said}" if said[:2] != "is" else f"{argument} {said}"


def test_a_list(folder: Path) -> None:
    (folder / "sub").mkdir()
    shutil.copy("a.jpg", "sub/b c#.jpg")
    shutil.copy("a.jpg", "sub/7")
    absolute = folder / "a.jpg"
    lines = ["# comment", "", "  b c#.jpg  ", "7", "none.jpg", "*.jpg", "http://host/x", str(absolute)]
    (folder / "sub/list.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    expected = [Path("sub/b c#.jpg"), Path("sub/7"), Path("sub/none.jpg"), Path("sub/b c#.jpg")]
    for argument in ("sub/list.txt", "@sub/list.txt"):
        sources = to_sources([argument], print)
        assert sources[:4] == [ImageFile(path) for path in expected]
        assert sources[4:] == [WebImage("http://host/x"), ImageFile(absolute)]
    (folder / "sub/list").write_text("../a.jpg")
    assert only("@sub/list") == ImageFile(Path("sub/../a.jpg"))
    (folder / "cameras.txt").write_text("3")
    assert only("cameras.txt") == Camera("3")


def test_the_name_of_a_lists_folder_is_no_pattern(folder: Path) -> None:
    for name in ("x[1]", "x1", "x[1]/sub"):
        (folder / name).mkdir()
        shutil.copy("a.jpg", folder / name / "b.jpg")
    shutil.copy("a.jpg", "x1/only here.jpg")
    shutil.copy("a.jpg", "x[1]/c[2].jpg")
    (folder / "x[1]/list.txt").write_text("*.jpg\n**/*.jpg\nsub/**\nc[2].jpg\nsub\nonly here.jpg\n")
    *found, missing = to_sources(["x[1]/list.txt"], print)
    first = ["x[1]/b.jpg", "x[1]/c[2].jpg"]
    expected = [*first, *first, "x[1]/sub/b.jpg", "x[1]/sub/b.jpg", "x[1]/c[2].jpg", "x[1]/sub/b.jpg"]
    assert found == [ImageFile(Path(name)) for name in expected]
    assert isinstance(missing, Refused) and missing.name == "only here.jpg"


def test_passwords_of_refused_addresses_are_not_shown(folder: Path) -> None:
    addresses = [
        "ftp://me@corp:secret@host/a.jpg",
        "http:/me:secret@host/a.jpg",
        "http://me:secret@host:99999/a.jpg",
        "http://me:sec/secret@host/a.jpg",
        "http://me:secret@[bad/a.jpg",
        "http://:secret@",
    ]
    (folder / "sub").mkdir()
    (folder / "sub/list.txt").write_text("\n".join(addresses))
    for address, source in zip(addresses, to_sources(["sub/list.txt"], print), strict=True):
        assert isinstance(source, Refused)
        for text in (refusal(address), source.name, str(source.error), refusal(f"@{address}")):
            assert ":***@" in text and "secret" not in text
        assert "secret" not in saved_name(source.name)


def test_a_bad_line_costs_only_itself(folder: Path) -> None:
    (folder / "list.txt").write_text("-\nother.txt\nftp://host/a.jpg\n*.bmp\na.jpg\n--batch\n")
    *refused, good, missing = to_sources(["list.txt"], print)
    assert all(isinstance(source, Refused) for source in refused)
    assert [source.name for source in refused] == ["-", "other.txt", "ftp://host/a.jpg", "*.bmp"]
    said = [str(source.error) for source in refused if isinstance(source, Refused)]
    assert said[0] == "list.txt names -; a list can't name standard input or another list"
    assert "addresses of ftp" in said[2] and "nothing matches" in said[3]
    assert (good, missing) == (ImageFile(Path("a.jpg")), ImageFile(Path("--batch")))


def test_lists_that_are_none(folder: Path) -> None:
    (folder / "empty.txt").write_text("# nothing\n\n")
    (folder / "binary.txt").write_bytes(bytes(10))
    os.mkfifo(folder / "pipe.txt")
    assert refusal("empty.txt") == "empty.txt lists no sources; write one on each line"
    assert refusal("none.txt") == "none.txt does not exist; it would be a list of sources, one on each line"
    assert refusal("@none") == "none does not exist; it would be a list of sources, one on each line"
    assert "is no list of sources" in refusal("binary.txt")
    assert refusal("pipe.txt") == "can't read the list pipe.txt: it is a FIFO, not a file"
