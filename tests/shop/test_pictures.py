"""Uploaded pictures: what they may cost, and what of them is kept."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image

from customers import pictures, uploads
from customers.pictures import portrait
from tests.shop.test_races import at_once

ROOT = Path(__file__).resolve().parents[2]
MOST_MEGABYTES = 160


def encoded(
    size: tuple[int, int], kind: str, mode: str = "RGB", **options: object
) -> bytes:
    buffer = BytesIO()
    Image.new(mode, size).save(buffer, kind, **options)
    return buffer.getvalue()


def upload(content: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile("me.jpg", content, "image/jpeg")


def shown(content: bytes) -> Image.Image:
    return Image.open(portrait(upload(content)))


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and then has nothing."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    checked = header + struct.pack(">I", zlib.crc32(header))
    data = struct.pack(">I", 1000) + b"IDAT"
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + checked + data


# What it may cost

PROBE = """
import json, resource, sys
from pathlib import Path
from PIL import Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
import django; django.setup()
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from customers.pictures import portrait

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

upload = SimpleUploadedFile("a", Path(sys.argv[1]).read_bytes())
before = peak()
try:
    said = "kept %d" % portrait(upload).size
except ValidationError as error:
    said = error.message
print(json.dumps([peak() - before, said]))
"""


@pytest.mark.parametrize(
    ("size", "kind", "mode", "options"),
    [
        ((5000, 4000), "JPEG", "RGB", {"progressive": True, "subsampling": 0}),
        ((5000, 4000), "JPEG", "CMYK", {"progressive": True}),
        ((4000, 3000), "PNG", "RGBA", {}),
        ((4000, 3000), "PNG", "P", {}),
        ((4000, 2000), "WEBP", "RGBA", {"lossless": True, "method": 0}),
    ],
)
def test_the_largest_picture_is_decoded_in_bounded_memory(
    tmp_path, size, kind, mode, options
):
    file = tmp_path / "picture"
    file.write_bytes(encoded(size, kind, mode, **options))
    megabytes, said = probe(file)
    assert said.startswith("kept")
    assert megabytes < MOST_MEGABYTES


@pytest.mark.parametrize(
    ("size", "kind"),
    [((5001, 4000), "JPEG"), ((4001, 3000), "PNG"), ((4001, 2000), "WEBP")],
)
def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded(
    tmp_path, size, kind
):
    file = tmp_path / "picture"
    file.write_bytes(encoded(size, kind))
    megabytes, said = probe(file)
    assert "million pixels" in said
    assert megabytes < 20


def probe(file: Path) -> tuple[int, str]:
    """The memory that a picture costs a process of its own, and what came of it."""
    ran = subprocess.run(
        [sys.executable, "-c", PROBE, str(file)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        env={"DJANGO_SETTINGS_MODULE": "tests.settings", "TEST_DATABASE": "sqlite"},
    )
    megabytes, said = json.loads(ran.stdout)
    return megabytes, said


@pytest.mark.parametrize("side", [9_000, 50_000, 2**31 - 1])
def test_what_a_header_says_is_enough_to_refuse(side):
    with pytest.raises(ValidationError, match=r"million pixels|Please choose"):
        portrait(upload(png_header(side, side)))


def test_a_process_decodes_one_picture_at_a_time(monkeypatch):
    monkeypatch.setattr(pictures, "QUEUE_TIMEOUT", 0.05)
    content = encoded((900, 600), "PNG")

    def send() -> str:
        try:
            return "kept" if portrait(upload(content)).size else ""
        except ValidationError as error:
            return str(error.message)

    with pictures._decoder:
        assert at_once(send) == [
            "Other pictures are being processed. Please try again."
        ]
    monkeypatch.setattr(pictures, "QUEUE_TIMEOUT", 10)
    assert at_once(send, send, send) == ["kept"] * 3


@pytest.mark.django_db
def test_too_large_a_file_is_refused_while_it_arrives(client, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_BYTES", 100_000)
    client.force_login(User.objects.create_user("ada"))
    response = client.post("/profile/", {"picture": upload(b"x" * 300_000)})
    assert response.status_code == 400
    assert "too large" in response.text


# What is kept


@pytest.mark.parametrize(
    ("orientation", "size"), [(1, (512, 256)), (6, (256, 512)), (9, (512, 256))]
)
def test_a_picture_is_turned_as_its_camera_says(orientation, size):
    exif = Image.Exif()
    exif[pictures.ORIENTATION] = orientation
    assert shown(encoded((1000, 500), "JPEG", exif=exif)).size == size


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x05\0\x01\0\0\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\xff\xff\xff\x7f",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\0abc\0",
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.filterwarnings("ignore:Possibly corrupt EXIF data")
@pytest.mark.filterwarnings("ignore:Truncated File Read")
def test_a_picture_with_broken_exif_data_is_kept_as_it_is(exif, kind):
    assert shown(encoded((1000, 500), kind, exif=exif)).size == (512, 256)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_usual_kind_of_png_becomes_a_jpeg_without_metadata(mode):
    picture = shown(encoded((900, 600), "PNG", mode))
    assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (512, 341))
    assert dict(picture.getexif()) == {}
    assert set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


@pytest.mark.filterwarnings("ignore:Truncated File Read")
@pytest.mark.parametrize("cut", [9, 20, 40, 100])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_damaged_picture_is_refused(kind, cut):
    with pytest.raises(ValidationError, match="Please choose"):
        portrait(upload(encoded((900, 600), kind)[:cut]))


def test_a_browser_is_told_at_the_field(client):
    client.force_login(User.objects.create_user("ada"))
    response = client.post("/profile/", {"picture": upload(png_header(9_000, 9_000))})
    assert response.status_code == 422
    assert "more than 12 million pixels" in response.text
