"""Encoding what has no vector yet, committed batch by batch. Media are decoded ahead, in other processes."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from encoders.encoder import Encoder, LayeredEncoder, MediaEncoder
from encoders.media.specs import AudioSpec, DecodeSpec, ImageSpec
from encoders.memory import encode_within_memory
from indexer.progress import OnProgress, Progress
from indexer.threads import ahead, behind
from retrieval.collections import count
from retrieval.content import Content, Modality
from retrieval.dead_letters import DeadLetter, inherit_dead_letters, put_dead_letters
from retrieval.embeddings import count_embeddings, encoder_row, put_embeddings
from retrieval.errors import EncoderFault, InvalidInput, PermissionDenied, TwinspireError
from retrieval.features import count_features, feature_set, pending_features, put_features, read_features
from retrieval.media_roots import media_roots
from retrieval.segments import pending_segments
from retrieval.workspace import Workspace

BATCH_SEGMENTS = 2048
# A batch of media is held decoded, and two more wait: this bounds each, in bytes.
BATCH_DECODED_BYTES = 64 << 20
TYPICAL_SOUND_S = 60.0
UNIT_TOLERANCE = 1e-3

Batch: TypeAlias = list[tuple[int, Content]]


@dataclass(slots=True)
class Encoded:
    """What was encoded."""

    segments: int = 0
    set_aside: int = 0  # segments that could not be read
    encoder_s: float = 0.0  # in the encoder itself


def encode_pending(
    ws: Workspace,
    collection: str,
    encoder: Encoder,
    *,
    up_to_key: int,
    on_progress: OnProgress,
) -> Encoded:
    """Give a vector to every segment that has none, up to a key.

    A batch is decoded and another one written while the one between is encoded, so an interruption costs
    three batches at most. What cannot be read is set aside, and not tried again for this encoder.

    Args:
        ws: the workspace.
        collection: whose segments.
        encoder: makes the vectors, under its card's fingerprint.
        up_to_key: segments that came later are left to the next build.
        on_progress: told of the stages "extract" and "encode", in segments.

    Raises:
        EncoderFault: if a vector is not a finite unit vector of the card's width; its batch is not stored.
        EncoderOutOfMemory: if a single segment does not fit into the memory.
        MissingExtra: if decoding needs a library that is not installed.
    """
    card = encoder.card
    encoder_row(ws, card.fingerprint, card.dims)
    if isinstance(encoder, LayeredEncoder):
        return _encode_layered(ws, collection, encoder, up_to_key, on_progress)
    total = count(ws, collection).segments - count_embeddings(ws, collection, card.fingerprint)
    return _run(
        _Stage(ws, collection, encoder, card.fingerprint, "encode", total, on_progress),
        partial(pending_segments, ws, collection, card.fingerprint),
        partial(encode_items, encoder),
        partial(put_embeddings, ws, card.fingerprint),
        up_to_key,
    )


def extract_pending(
    ws: Workspace, collection: str, encoder: LayeredEncoder, *, up_to_key: int, on_progress: OnProgress
) -> Encoded:
    """Give features to every segment that has none, as `encode_pending` gives vectors."""
    fingerprint = encoder.feature_fingerprint
    feature_set(ws, fingerprint, *encoder.feature_shape)
    total = count(ws, collection).segments - count_features(ws, collection, fingerprint)
    return _run(
        _Stage(ws, collection, encoder, fingerprint, "extract", total, on_progress),
        partial(pending_features, ws, collection, fingerprint),
        partial(encode_within_memory, encoder.extract),
        partial(put_features, ws, fingerprint),
        up_to_key,
    )


def _encode_layered(
    ws: Workspace, collection: str, encoder: LayeredEncoder, up_to_key: int, on_progress: OnProgress
) -> Encoded:
    done = extract_pending(ws, collection, encoder, up_to_key=up_to_key, on_progress=on_progress)
    inherit_dead_letters(ws, collection, encoder.feature_fingerprint, encoder.card.fingerprint)
    fingerprint = encoder.card.fingerprint
    for keys, features in read_features(
        ws, collection, encoder.feature_fingerprint, without_embedding=fingerprint
    ):
        wanted = int(np.searchsorted(keys, up_to_key, side="right"))
        started = time.perf_counter()
        vectors = checked(encoder, encoder.fuse(features[:wanted]), wanted)
        done.encoder_s += time.perf_counter() - started
        put_embeddings(ws, fingerprint, keys[:wanted], vectors)
    return done


@dataclass(frozen=True, slots=True)
class _Stage:
    """What is being worked on."""

    ws: Workspace
    collection: str
    encoder: Encoder
    fingerprint: str  # of what is made
    name: str
    total: int
    on_progress: OnProgress


def _run(
    stage: _Stage,
    pending: Callable[..., Batch],
    make: Callable[[Sequence[Content]], NDArray[np.float32]],
    put: Callable[[list[int], NDArray[np.float32]], object],
    up_to_key: int,
) -> Encoded:
    """Read and decode a batch, make something of the one before, write the one before that."""
    done = Encoded()
    with ExitStack() as stack:
        prepared = stack.enter_context(_prepared(stage))
        batches = stack.enter_context(ahead(map(prepared, _pending(stage.encoder, pending, up_to_key))))
        run = stack.enter_context(behind())
        for batch, letters in batches:
            started = time.perf_counter()
            made = make([content for _, content in batch]) if batch else None
            done.encoder_s += time.perf_counter() - started
            if made is not None:
                run(partial(put, [key for key, _ in batch], made))
            if letters:
                run(partial(put_dead_letters, stage.ws, stage.collection, letters))
            done.segments += len(batch)
            done.set_aside += len(letters)
            seen = done.segments + done.set_aside
            stage.on_progress(Progress(stage.name, seen, max(stage.total, seen)))
    seen = done.segments + done.set_aside
    stage.on_progress(Progress(stage.name, seen, seen))
    return done


@contextmanager
def _prepared(stage: _Stage) -> Iterator[Callable[[Batch], tuple[Batch, list[DeadLetter]]]]:
    """Return what decodes a batch; what cannot be read comes out as dead letters."""
    encoder = stage.encoder
    if not isinstance(encoder, MediaEncoder):
        yield lambda batch: (batch, [])
        return
    from encoders.media.decoding import Decoder
    from encoders.media.preparing import prepare

    specs, roots = encoder.decode_specs, media_roots(stage.ws)
    with Decoder() as decoder:

        def decode(batch: Batch) -> tuple[Batch, list[DeadLetter]]:
            good: Batch = []
            letters: list[DeadLetter] = []
            prepared = prepare([content for _, content in batch], specs, decoder, roots)
            for (key, content), outcome in zip(batch, prepared, strict=True):
                if isinstance(outcome, Content):
                    good.append((key, outcome))
                else:
                    letters.append(_letter(key, content, outcome, stage.fingerprint))
            return good, letters

        yield decode


def _letter(key: int, content: Content, error: TwinspireError, fingerprint: str) -> DeadLetter:
    """Set a segment aside for what is wrong with its file; other errors are not the file's."""
    if not isinstance(error, InvalidInput | PermissionDenied):
        raise error
    return DeadLetter(content.uri, error.reason, str(error), key, fingerprint)


def _pending(encoder: Encoder, pending: Callable[..., Batch], up_to_key: int) -> Iterator[Batch]:
    after_key = 0
    modalities = [Modality(modality) for modality in encoder.card.modalities]
    limit = batch_segments(encoder)
    while after_key < up_to_key:
        found = pending(limit=limit, after_key=after_key, modalities=modalities)
        batch = [(key, content) for key, content in found if key <= up_to_key]
        if not batch:
            return
        yield batch
        after_key = batch[-1][0]


def batch_segments(encoder: Encoder) -> int:
    """Tell how many segments are decoded and encoded together."""
    if not isinstance(encoder, MediaEncoder):
        return BATCH_SEGMENTS
    largest = max(decoded_bytes(spec) for spec in encoder.decode_specs.values())
    return max(1, min(BATCH_SEGMENTS, BATCH_DECODED_BYTES // largest))


def decoded_bytes(spec: DecodeSpec) -> int:
    """Estimate what one decoded content takes."""
    if isinstance(spec, AudioSpec):
        return int(4 * spec.sample_rate * min(spec.max_seconds, TYPICAL_SOUND_S))
    if isinstance(spec, ImageSpec):
        return 3 * spec.height * spec.width
    return spec.frames * decoded_bytes(spec.image)


def encode_items(encoder: Encoder, contents: Sequence[Content]) -> NDArray[np.float32]:
    """Encode items, in smaller batches if the memory does not suffice, and check what comes.

    Returns:
        Unit rows, shape (n, dims).

    Raises:
        EncoderFault: if a vector is not a finite unit vector of the card's width.
        EncoderOutOfMemory: if a single content does not fit into the memory.
    """
    vectors = encode_within_memory(encoder.encode_items, contents)
    return checked(encoder, vectors, len(contents))


def checked(encoder: Encoder, vectors: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Refuse what no index may hold.

    Raises:
        EncoderFault: if the vectors are not finite unit rows, shape (count, dims).
    """
    card = encoder.card
    if vectors.shape != (count, card.dims):
        raise EncoderFault(
            f"{card.name}: expected vectors of shape {(count, card.dims)}, got {vectors.shape}"
        )
    lengths = np.einsum("nd,nd->n", vectors, vectors)
    if not np.isfinite(lengths).all():
        raise EncoderFault(f"{card.name}: the encoder made a vector with NaN or infinity")
    if (np.abs(lengths - 1) > UNIT_TOLERANCE).any():
        raise EncoderFault(f"{card.name}: the encoder made a vector that is not of length 1")
    return vectors
