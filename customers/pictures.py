"""Pictures that people send: made small, and stripped of what they did not mean to say.

A photograph tells where it was taken. What is kept is a new JPEG with nothing but its
pixels, so that no upload is ever served as it came.
"""

from __future__ import annotations

from io import BytesIO

from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import UploadedFile
from PIL import Image, ImageOps

MAX_BYTES = 5 * 2**20
MAX_PIXELS = 40_000_000
FORMATS = ("JPEG", "PNG", "WEBP")
SIDE = 512


def portrait(upload: UploadedFile[bytes]) -> ContentFile[bytes]:
    """Return the picture as it will be kept; ``ValidationError`` if it cannot be."""
    if (upload.size or 0) > MAX_BYTES:
        raise ValidationError("This picture is larger than 5 MB.")
    upload.seek(0)
    try:
        return _encoded(Image.open(upload, formats=FORMATS))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValidationError("Please choose a JPEG, PNG or WebP picture.") from error


def _encoded(image: Image.Image) -> ContentFile[bytes]:
    if image.width * image.height > MAX_PIXELS:
        raise ValidationError("This picture has more than 40 million pixels.")
    upright = ImageOps.exif_transpose(image).convert("RGB")
    upright.thumbnail((SIDE, SIDE))
    result = BytesIO()
    upright.save(result, "JPEG", quality=85)
    return ContentFile(result.getvalue(), name="picture.jpg")
