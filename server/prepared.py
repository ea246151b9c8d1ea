"""Encoders of media as the server calls them: files are decoded first, in limited processes."""

import hashlib
import os
import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from encoders.card import EncoderCard
from encoders.encoder import LayeredEncoder, MediaEncoder
from encoders.media.decoding import Decoder
from encoders.media.limits import DEFAULT_LIMITS
from encoders.media.preparing import prepare
from encoders.media.source import open_file
from retrieval.content import Content
from retrieval.errors import MediaTooLarge, MediaUnreadable, TwinspireError
from retrieval.items import Item
from retrieval.media_roots import media_roots, resolve_uri
from retrieval.workspace import Workspace


class MediaFiles:
    """Decodes what requests and items hold. Its processes start with the first file."""

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        self._lock = threading.Lock()
        self._decoder: Decoder | None = None

    def prepare(self, encoder: MediaEncoder, contents: Sequence[Content]) -> list[Content | TwinspireError]:
        """Decode each content as the encoder asks, or say why it cannot be."""
        by_uri = any(content.uri and not content.media for content in contents)
        roots = media_roots(self._ws) if by_uri and not self._ws.mirrors_redis else {}
        return prepare(contents, encoder.decode_specs, self._running(), roots)

    def identify(self, item: Item) -> Item:
        """Find the file of an item and take its hash, so that another content counts as another one.

        Raises:
            UriNotAllowed: if its uri does not lead to a file under a root.
            MediaUnreadable: if it is no file, or cannot be read.
            MediaTooLarge: if it is larger than a file of its modality may be.
        """
        roots = {} if self._ws.mirrors_redis else media_roots(self._ws)
        most = DEFAULT_LIMITS.max_bytes(item.modality)
        try:
            with open_file(resolve_uri(roots, item.uri), "uri") as file:
                size = os.fstat(file.fileno()).st_size
                if size > most:
                    raise MediaTooLarge(f"uri: expected at most {most} bytes, got {size}", field="uri")
                return replace(item, content_hash=hashlib.file_digest(file, "sha256").hexdigest())
        except OSError as error:
            raise MediaUnreadable(f"uri: the file cannot be read: {error.strerror}", field="uri") from error

    def _running(self) -> Decoder:
        with self._lock:
            if self._decoder is None:
                self._decoder = Decoder()
            return self._decoder

    def close(self) -> None:
        """End the processes."""
        with self._lock:
            if self._decoder is not None:
                self._decoder.close()
                self._decoder = None


class PreparedEncoder:
    """An encoder of media that takes files. Implements `encoders.encoder.Encoder`."""

    def __init__(self, encoder: MediaEncoder, files: MediaFiles) -> None:
        self._encoder = encoder
        self._files = files

    @property
    def card(self) -> EncoderCard:
        """What identifies the encoder version."""
        return self._encoder.card

    @property
    def layered(self) -> LayeredEncoder | None:
        """The encoder itself, if it keeps layers; it takes what `prepare` decoded."""
        return self._encoder if isinstance(self._encoder, LayeredEncoder) else None

    def prepare(self, contents: Sequence[Content]) -> list[Content | TwinspireError]:
        """Decode each content that is not yet, or say why it cannot be."""
        return self._files.prepare(self._encoder, contents)

    def encode_queries(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Encode queries, as `Encoder` says. Raises for the first that cannot be decoded."""
        return self._encoder.encode_queries(self._prepared(contents))

    def encode_items(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Encode items, as `Encoder` says. Raises for the first that cannot be decoded."""
        return self._encoder.encode_items(self._prepared(contents))

    def truncates(self, contents: Sequence[Content]) -> list[bool]:
        """Tell for each content whether the encoder reads only its beginning."""
        return self._encoder.truncates(contents)

    def _prepared(self, contents: Sequence[Content]) -> list[Content]:
        prepared = []
        for outcome in self.prepare(contents):
            if isinstance(outcome, TwinspireError):
                raise outcome
            prepared.append(outcome)
        return prepared
