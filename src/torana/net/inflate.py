"""Undo a content coding that an upstream applied although we asked for identity. Knows no HTTP but its name.

zlib is in the standard library; br and zstd are not (before Python 3.14), so they are refused by name.
"""

import zlib
from collections.abc import Iterator

from torana.errors import UpstreamInvalid, UpstreamTooLarge

INFLATED_BYTES_MAX = 64 * 1024 * 1024  # the fault matrix's max_response (U17)
RATIO_MAX = 100  # JSON of a provider compresses about 10:1; zlib's own limit is 1030:1
RATIO_FREE_BYTES = 1024 * 1024  # a small answer may be repetitive: the ratio counts above this
SLICE_BYTES = 4 * 1024  # of input at a time, so that at most about 4 MB come out before a limit is checked
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


class Inflate:
    """feed() compressed bytes, get pieces of the plain ones; close() raises if the coding did not end."""

    __slots__ = ("_coding", "_fed", "_given", "_stream")

    def __init__(self, coding: str) -> None:
        """`coding` is the value of content-encoding. Raises UpstreamInvalid for one we cannot undo."""
        if coding not in ("gzip", "x-gzip", "deflate"):
            raise UpstreamInvalid(f"the provider compressed its answer with {coding!r}, though asked not to")
        self._coding = coding
        self._stream: zlib._Decompress | None = None
        self._fed = 0
        self._given = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), SLICE_BYTES):
            piece = data[start : start + SLICE_BYTES]
            self._fed += len(piece)
            if plain := self._inflate(piece):
                self._given += len(plain)
                self._check()
                yield plain

    def close(self) -> None:
        if self._stream is not None and not self._stream.eof:
            raise UpstreamInvalid(f"the provider's answer ends in the middle of its {self._coding} coding")

    def _inflate(self, data: bytes) -> bytes:
        plain = []
        try:
            while data:
                if self._stream is None or self._stream.eof:  # gzip may be several members in a row
                    self._stream = zlib.decompressobj(self._window(data))
                plain.append(self._stream.decompress(data))
                data = self._stream.unused_data
        except zlib.error:
            raise UpstreamInvalid(
                f"the provider's answer is not the {self._coding} it is labelled as"
            ) from None
        return b"".join(plain)

    def _window(self, data: bytes) -> int:
        if self._coding != "deflate":
            return _GZIP
        # https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1.2: "Some non-conformant implementations send the
        # deflate compressed data without the zlib wrapper", whose first byte has 8 in its low half.
        return _ZLIB if data[0] & 0x0F == 8 else _RAW

    def _check(self) -> None:
        if self._given > INFLATED_BYTES_MAX:
            raise UpstreamTooLarge(f"the provider's answer inflates to more than {INFLATED_BYTES_MAX} bytes")
        if self._given > max(RATIO_FREE_BYTES, RATIO_MAX * self._fed):
            raise UpstreamTooLarge(f"the provider's answer inflates to more than {RATIO_MAX} times its size")
