"""Encoding what has no vector yet, committed batch by batch."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from encoders.encoder import Encoder
from encoders.memory import encode_within_memory
from indexer.progress import OnProgress, Progress
from indexer.threads import ahead, behind
from retrieval.collections import count
from retrieval.content import Content, Modality
from retrieval.embeddings import count_embeddings, encoder_row, put_embeddings
from retrieval.errors import EncoderFault
from retrieval.segments import pending_segments
from retrieval.workspace import Workspace

BATCH_SEGMENTS = 2048
UNIT_TOLERANCE = 1e-3


@dataclass(slots=True)
class Encoded:
    """What was encoded."""

    segments: int = 0
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

    A batch is written while the next one is encoded, so an interruption costs two batches at most.

    Args:
        ws: the workspace.
        collection: whose segments.
        encoder: makes the vectors, under its card's fingerprint.
        up_to_key: segments that came later are left to the next build.
        on_progress: told of the stage "encode", in segments.

    Raises:
        EncoderFault: if a vector is not a finite unit vector of the card's width; its batch is not stored.
        EncoderOutOfMemory: if a single segment does not fit into the memory.
    """
    card = encoder.card
    encoder_row(ws, card.fingerprint, card.dims)
    total = count(ws, collection).segments - count_embeddings(ws, collection, card.fingerprint)
    done = Encoded()
    with ahead(_pending(ws, collection, encoder, up_to_key)) as batches, behind() as run:
        for batch in batches:
            started = time.perf_counter()
            vectors = encode_items(encoder, [content for _, content in batch])
            done.encoder_s += time.perf_counter() - started
            run(partial(put_embeddings, ws, card.fingerprint, [key for key, _ in batch], vectors))
            done.segments += len(batch)
            on_progress(Progress("encode", done.segments, max(total, done.segments)))
    on_progress(Progress("encode", done.segments, done.segments))
    return done


def _pending(
    ws: Workspace, collection: str, encoder: Encoder, up_to_key: int
) -> Iterator[list[tuple[int, Content]]]:
    after_key = 0
    modalities = [Modality(modality) for modality in encoder.card.modalities]
    while after_key < up_to_key:
        found = pending_segments(
            ws,
            collection,
            encoder.card.fingerprint,
            limit=BATCH_SEGMENTS,
            after_key=after_key,
            modalities=modalities,
        )
        batch = [(key, content) for key, content in found if key <= up_to_key]
        if not batch:
            return
        yield batch
        after_key = batch[-1][0]


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
