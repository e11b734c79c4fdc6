"""Turn an uploaded picture into a small JPEG without metadata.

No upload is ever served as it came, and no place where a photograph was taken is kept.

# Note [Bounded decoding]
A file of 150 KB can decode to 500 MB. So the size in pixels is read from the header and
limited before anything is decoded, JPEGs are decoded at a reduced scale, the picture is
made small before it is converted, and a process decodes one picture at a time. Together
that takes at most about 140 MB per process. The limits differ because the decoders do:
a progressive JPEG needs 6 bytes per pixel, a PNG 8, a WebP 16.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import UploadedFile
from PIL import Image

MAX_BYTES = 5 * 2**20
MAX_PIXELS = {"JPEG": 20_000_000, "PNG": 12_000_000, "WEBP": 8_000_000}
SIDE = 512
QUEUE_TIMEOUT = 5.0  # seconds that an upload waits while another one is decoded
ORIENTATION = 0x0112  # the EXIF tag
TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_decoder = threading.Lock()


def portrait(upload: UploadedFile[bytes]) -> ContentFile[bytes]:
    """Return the small JPEG; raise ``ValidationError`` if there is no picture in it."""
    if (upload.size or 0) > MAX_BYTES:
        raise ValidationError("This picture is larger than 5 MB.")
    upload.seek(0)
    with _one_at_a_time():
        try:
            return _encoded(_decoded(upload))
        except ValidationError:
            raise
        except Exception as error:  # Pillow may raise anything for a damaged file
            raise ValidationError(
                "Please choose a JPEG, PNG or WebP picture."
            ) from error


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    if not _decoder.acquire(timeout=QUEUE_TIMEOUT):
        raise ValidationError("Other pictures are being processed. Please try again.")
    try:
        yield
    finally:
        _decoder.release()


def _decoded(upload: UploadedFile[bytes]) -> Image.Image:
    """Return the picture, small and upright. See Note [Bounded decoding]."""
    with Image.open(upload, formats=tuple(MAX_PIXELS)) as image:
        most = MAX_PIXELS[str(image.format)]
        if image.width * image.height > most:
            raise ValidationError(
                f"This {image.format} has more than {most // 10**6} million pixels."
            )
        turn = TRANSPOSE.get(_orientation(image))
        image.draft("RGB", (2 * SIDE, 2 * SIDE))
        small = image.convert("RGBA") if image.mode in ("1", "P") else image
        small.thumbnail((SIDE, SIDE))
        return small.transpose(turn) if turn else small.copy()


def _orientation(image: Image.Image) -> int:
    """Return the orientation that the EXIF data give, or 1 if they are broken."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # noqa: BLE001 -- broken EXIF raises anything; we can do without
        return 1


def _encoded(image: Image.Image) -> ContentFile[bytes]:
    result = BytesIO()
    pixels = Image.new("RGB", image.size)
    pixels.paste(image.convert("RGB"))
    pixels.save(result, "JPEG", quality=85)
    return ContentFile(result.getvalue(), name="picture.jpg")
