"""What a sender says before its body, and a body whose length it does not say.

Parsed by llhttp, through httptools; this only keeps what the sink asks about.
"""

from __future__ import annotations

from typing import Final

import httptools

HEAD_BYTES: Final = 16 << 10
"""Largest head that is read: request line and headers."""

END_OF_HEAD: Final = b"\r\n\r\n"


class BadRequestError(Exception):
    """Not HTTP/1.1 as the sink speaks it."""


class Message:
    """One request, as far as it was fed.

    Attributes:
        path: as it was sent, without query.
        authorization: that header's value.
        expectation: the ``Expect`` header's value, in lower case.
        length: of the body, in bytes; None: it comes in chunks.
        is_whole: all of a body in chunks is read.
    """

    def __init__(self) -> None:
        self.path = ""
        self.authorization = ""
        self.expectation = ""
        self.length: int | None = 0
        self._has_head = False
        self.is_whole = False
        self._url = b""
        self._chunks: list[bytes] = []
        self._parser = httptools.HttpRequestParser(self)

    @property
    def method(self) -> str:
        """``POST``."""
        return self._parser.get_method().decode("ascii")

    @property
    def keeps_alive(self) -> bool:
        """The sender means to use the connection for further requests."""
        return self._parser.should_keep_alive()

    def feed(self, data: bytes) -> None:
        """Read on.

        Raises:
            BadRequestError: it cannot be read, or asks for another protocol.
        """
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, ValueError) as error:
            raise BadRequestError(str(error)) from error

    def feed_head(self, head: bytes) -> None:
        """Read the head, all of it and nothing else.

        Raises:
            BadRequestError: it is none.
        """
        self.feed(head)
        if not self._has_head:
            raise BadRequestError("nothing but empty lines")

    def take_chunks(self) -> list[bytes]:
        """What was read of the body since the last call."""
        chunks, self._chunks = self._chunks, []
        return chunks

    # What the parser calls

    def on_url(self, url: bytes) -> None:
        """A piece of the request's target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        match name.lower():
            case b"content-length":
                self.length = int(value)
            case b"transfer-encoding":
                self.length = None
            case b"authorization":
                self.authorization = value.decode("latin-1")
            case b"expect":
                self.expectation = value.decode("latin-1").lower()

    def on_headers_complete(self) -> None:
        """The head ends."""
        self.path = self._url.partition(b"?")[0].decode("latin-1")
        self._has_head = True

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        """The body ends."""
        self.is_whole = True
