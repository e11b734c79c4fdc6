"""Refuse uploads that are too large while they arrive, before they fill the disk."""

from __future__ import annotations

from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadhandler import FileUploadHandler

MAX_BYTES = (
    6 * 2**20
)  # of all files of a request; forms say more exactly what they take


class LimitedUpload(FileUploadHandler):
    """Count the bytes of all files of a request; too many are answered with 400."""

    def __init__(self, request: object = None) -> None:
        super().__init__(request)  # type: ignore[arg-type]
        self.received = 0

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        """Pass the data on to the next handler, or refuse the request."""
        self.received += len(raw_data)
        if self.received > MAX_BYTES:
            raise RequestDataTooBig("The uploaded files are too large.")
        return raw_data

    def file_complete(self, file_size: int) -> None:
        """Leave the file to the next handler."""
