"""Which parts of a form are images, under which names."""

from __future__ import annotations

import pytest

from tests.servers import MISSING, REASON

pytestmark = pytest.mark.skipif(bool(MISSING), reason=REASON)


def form_of(*headers: str) -> bytes:
    """Return a form of a part for each of these headers, with the part's number as its data."""
    parts = [
        f'--XX\r\nContent-Disposition: form-data; name="file"{header}\r\n\r\n{at}\r\n'
        for at, header in enumerate(headers)
    ]
    return "".join([*parts, "--XX--\r\n"]).encode()


def read(body: bytes) -> list[tuple[str, bytes]]:
    from sacvit_deploy.serving.body import read_form

    return read_form("multipart/form-data; boundary=XX", body, 64)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('; filename="a.jpg"', "a.jpg"),
        ('; filename=""', "<form>"),
        ("; filename*=utf-8''%C3%BC.jpg", "ü.jpg"),
        ("; FileName*=UTF-8'de'a%20b.jpg", "a b.jpg"),
        ("; filename=\"u.jpg\"; filename*=utf-8''%C3%BC.jpg", "u.jpg"),
        ("\r\nContent-Type: image/jpeg", "<form>"),
        ("\r\ncontent-type: Image/PNG", "<form>"),
    ],
)
def test_every_way_to_give_a_file(header: str, name: str) -> None:
    assert read(form_of("", header, "\r\nContent-Type: text/plain")) == [(name, b"1")]


def test_a_form_without_a_file_is_refused() -> None:
    from sacvit_deploy.serving.refusal import Refusal

    with pytest.raises(Refusal, match="no file; give each image a file's name") as refusal:
        read(form_of("", ""))
    assert refusal.value.status == 400
