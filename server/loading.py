"""Loading a version: open and verify the index, load its encoder, warm up. Blocks: use a thread."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from encoders.encoder import Encoder, MediaEncoder
from encoders.memory import encode_within_memory
from retrieval.backend_errors import BackendFault
from retrieval.content import Content, Modality
from retrieval.embeddings import encoder_row, put_embeddings
from retrieval.errors import (
    CorruptArtifact,
    EncoderIndexMismatch,
    FailedPrecondition,
    ModelNotFound,
    TwinspireError,
    Unavailable,
)
from retrieval.index import Keys, Vectors
from retrieval.items import list_items
from retrieval.opening import OpenIndex, open_index, open_live
from retrieval.publishing import quarantine
from retrieval.registry import ModelRow, find_model, model_by_fingerprint
from retrieval.search import VectorQuery
from retrieval.searcher import Searcher, make_searcher
from retrieval.workspace import Workspace
from server.answering import Answerer
from server.logs import log
from server.prepared import MediaFiles, PreparedEncoder
from server.translation.answers import Origin

LoadEncoder: TypeAlias = Callable[[Path], Encoder]

_WARM_UPS = 3
_WARM_UP_WORDS = 10  # of a question
_DECODE_S = 0.005  # what decoding and encoding a file takes at least


def load_encoder_lazily(folder: Path) -> Encoder:
    """Load an encoder by its card, importing what its kind needs only now."""
    from encoders.loading import load_encoder

    return load_encoder(folder)


class Encoders:
    """The encoders in use, each loaded once, whatever the number of collections and versions under it."""

    def __init__(self, ws: Workspace, load: LoadEncoder = load_encoder_lazily) -> None:
        self._ws = ws
        self._load = load
        self.files = MediaFiles(ws)
        self._loaded: WeakValueDictionary[str, Encoder] = WeakValueDictionary()

    def close(self) -> None:
        """End what decodes files for them."""
        self.files.close()

    def by_fingerprint(self, fingerprint: str) -> Encoder | None:
        """Return the encoder of a fingerprint; None if no such model is registered.

        Raises:
            CorruptArtifact: if its files differ from its card.
            EncoderIndexMismatch: if the card has another fingerprint than the registry.
            MissingExtra: if it needs what is not installed.
        """
        encoder = self._loaded.get(fingerprint)
        if encoder is None:
            try:
                model = model_by_fingerprint(self._ws, fingerprint)
            except ModelNotFound:
                return None
            encoder = self._load_model(model)
        return encoder

    def by_name(self, reference: str) -> Encoder:
        """Return an encoder by "name" or "name@version"; raises as `by_fingerprint` does.

        Raises:
            ModelNotFound: if there is no such model.
        """
        model = find_model(self._ws, reference)
        return self._loaded.get(model.fingerprint) or self._load_model(model)

    def _load_model(self, model: ModelRow) -> Encoder:
        encoder = self._load(model.folder)
        if encoder.card.fingerprint != model.fingerprint:
            raise EncoderIndexMismatch(model.fingerprint, encoder.card.fingerprint)
        if isinstance(encoder, MediaEncoder):
            encoder = PreparedEncoder(encoder, self.files)
        self._loaded[model.fingerprint] = encoder
        return encoder


@dataclass(slots=True, eq=False)
class LoadedVersion:
    """An index version in memory, warm, with its encoder."""

    collection: str
    opened: OpenIndex
    encoder: Encoder | None
    searcher: Searcher
    answerer: Answerer
    encode_s: float  # what encoding one query takes

    def close(self) -> None:
        """Release the index."""
        self.opened.index.close()


class Loader:
    """Loads versions."""

    def __init__(self, ws: Workspace, encoders: Encoders, *, allow_partial: bool = False) -> None:
        self._ws = ws
        self._encoders = encoders
        self._allow_partial = allow_partial  # of searches that do not say

    def load_live(self, collection: str) -> LoadedVersion | None:
        """Load the live version, or, if its bytes rotted, the newest one that is sound; None without any.

        Raises:
            CorruptArtifact: if no version is sound.
            FailedPrecondition: if it cannot be served: another width than its encoder, a missing extra.
        """
        while True:
            opened = open_live(self._ws, collection)
            if opened is None:
                return None
            try:
                return self._load(collection, opened)
            except CorruptArtifact as error:
                log("version quarantined", collection=collection, version=opened.version, reason=str(error))
                quarantine(self._ws, collection, opened.version)

    def load(self, collection: str, version: str) -> LoadedVersion:
        """Load a version.

        Raises:
            VersionNotFound: if there is none.
            CorruptArtifact: if its bytes rotted.
            FailedPrecondition: if it cannot be served.
        """
        return self._load(collection, open_index(self._ws, collection, version))

    def _load(self, collection: str, opened: OpenIndex) -> LoadedVersion:
        manifest = opened.manifest
        encoder = self._encoders.by_fingerprint(manifest.fingerprint)
        if encoder is not None and encoder.card.dims != manifest.dims:
            raise FailedPrecondition(
                f"encoder {manifest.model} makes {encoder.card.dims} dimensions,"
                f" the index has {manifest.dims}"
            )
        searcher = make_searcher(self._ws, collection, opened)
        searcher.allow_partial = self._allow_partial
        origin = Origin(opened.version, manifest.fingerprint, manifest.model)
        answerer = Answerer(self._ws, collection, origin, searcher, encoder, manifest.dims)
        loaded = LoadedVersion(collection, opened, encoder, searcher, answerer, encode_s=0.0)
        self._warm(loaded)
        if isinstance(encoder, PreparedEncoder):
            loaded.encode_s = max(loaded.encode_s, _DECODE_S)
        return loaded

    def _warm(self, loaded: LoadedVersion) -> None:
        """Touch what a search touches, and time the encoder.

        Raises:
            WarmUpFailed: if it does not work.
        """
        vector = np.zeros(loaded.opened.manifest.dims, np.float32)
        vector[0] = 1.0
        try:
            if loaded.encoder is not None and Modality.TEXT in loaded.encoder.card.modalities:
                vector = self._time_encoder(loaded, loaded.encoder)
            (result,) = loaded.searcher.search([VectorQuery(vector=vector)])
            if isinstance(result, Exception):
                raise result
        except (Unavailable, BackendFault):
            raise  # no fault of the version
        except TwinspireError as error:
            raise WarmUpFailed(loaded.opened.version, error) from error

    def _time_encoder(self, loaded: LoadedVersion, encoder: Encoder) -> NDArray[np.float32]:
        """Encode a real text, so that its words are known; return its vector, shape (dims,)."""
        texts = [item.text for item in list_items(self._ws, loaded.collection, limit=1) if item.text]
        text = texts[0] if texts else "a question to warm up with"
        for _ in range(_WARM_UPS):
            started = time.perf_counter()
            vectors = encoder.encode_queries([Content(text=" ".join(text.split()[:_WARM_UP_WORDS]))])
            loaded.encode_s = time.perf_counter() - started
        vector: NDArray[np.float32] = vectors[0]
        return vector


class WarmUpFailed(FailedPrecondition):
    """A version was loaded, but does not answer."""

    reason = "WARM_UP_FAILED"

    def __init__(self, version: str, error: TwinspireError) -> None:
        super().__init__(f"index version {version} fails its first search: {error}")


def encode_each(
    encoder: Encoder, pending: list[tuple[int, Content]]
) -> tuple[Keys, Vectors, TwinspireError | None]:
    """Encode segments together; if that fails, one by one, leaving out those that cannot be encoded.

    Returns:
        The keys of the encoded segments, shape (n,), their vectors, shape (n, dims), and the last error.
    """
    try:
        vectors = encode_within_memory(encoder.encode_items, [content for _, content in pending])
        return np.array([key for key, _ in pending], np.int64), vectors, None
    except TwinspireError as error:
        if len(pending) == 1:
            return np.empty(0, np.int64), np.empty((0, encoder.card.dims), np.float32), error
    parts = [encode_each(encoder, [single]) for single in pending]
    last = [error for _, _, error in parts if error is not None]
    return (
        np.concatenate([part[0] for part in parts]),
        np.concatenate([part[1] for part in parts]),
        last[-1] if last else None,
    )


def store_vectors(ws: Workspace, encoder: Encoder, keys: Keys, vectors: Vectors) -> None:
    """Store vectors, registering the encoder if these are its first."""
    try:
        put_embeddings(ws, encoder.card.fingerprint, keys, vectors)
    except ModelNotFound:
        encoder_row(ws, encoder.card.fingerprint, encoder.card.dims)
        put_embeddings(ws, encoder.card.fingerprint, keys, vectors)
