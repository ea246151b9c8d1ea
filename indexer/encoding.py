"""Encoding what has no vector yet, committed batch by batch. Media are decoded in other processes."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from encoders.encoder import DerivedEncoder, Encoder, LayeredEncoder, MediaEncoder
from encoders.media.specs import AudioSpec, DecodeSpec, ImageSpec
from indexer.deriving import derive_pending
from indexer.progress import OnProgress, Progress
from indexer.runners import Batch, LocalRunner, Runner, Work, checked
from indexer.runners import encode_items as encode_items
from indexer.threads import behind
from retrieval.content import Modality
from retrieval.dead_letters import inherit_dead_letters, put_dead_letters
from retrieval.embeddings import count_embeddings, encoder_row, put_embeddings
from retrieval.features import count_features, feature_set, pending_features, put_features, read_features
from retrieval.item_vectors import count_segments
from retrieval.media_roots import media_roots
from retrieval.segments import pending_segments
from retrieval.workspace import Workspace

BATCH_SEGMENTS = 2048
# A batch of media is held decoded, and two more wait: this bounds each, in bytes.
BATCH_DECODED_BYTES = 16 << 20
# Models take a power of two at a time: the rest of another number would be computed in a size of its own.
EVEN_SEGMENTS = 32
FIRST_SHARE = 6  # the first batch of media is so many times smaller: nothing is computed while it is decoded
TYPICAL_SOUND_S = 60.0

HERE: Runner = LocalRunner()


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
    runner: Runner = HERE,
) -> Encoded:
    """Give a vector to every segment that has none, up to a key.

    A batch is written while the next one is decoded or encoded, so an interruption costs three batches at
    most. What cannot be read is set aside, and not tried again for this encoder.

    Args:
        ws: the workspace.
        collection: whose segments.
        encoder: makes the vectors, under its card's fingerprint.
        up_to_key: segments that came later are left to the next build.
        on_progress: told of the stages "extract" and "encode", in segments.
        runner: runs the encoder.

    Raises:
        EncoderFault: if a vector is not a finite unit vector of the card's width; its batch is not stored.
        EncoderOutOfMemory: if a single segment does not fit into the memory.
        MissingExtra: if decoding needs a library that is not installed.
    """
    card = encoder.card
    encoder_row(ws, card.fingerprint, card.dims)
    if isinstance(encoder, LayeredEncoder):
        return _encode_layered(ws, collection, encoder, up_to_key, on_progress, runner)
    if isinstance(encoder, DerivedEncoder):
        derive_pending(ws, collection, encoder, up_to_key=up_to_key)
    total = count_segments(ws, collection, after_key=0) - count_embeddings(ws, collection, card.fingerprint)
    work = Work(encoder=encoder, features=False, fingerprint=card.fingerprint, roots=media_roots(ws))
    return _run(
        _Stage(ws, collection, work, "encode", total, on_progress),
        runner,
        partial(pending_segments, ws, collection, card.fingerprint),
        partial(put_embeddings, ws, card.fingerprint),
        up_to_key,
    )


def extract_pending(
    ws: Workspace,
    collection: str,
    encoder: LayeredEncoder,
    *,
    up_to_key: int,
    on_progress: OnProgress,
    runner: Runner = HERE,
) -> Encoded:
    """Give features to every segment that has none, as `encode_pending` gives vectors."""
    fingerprint = encoder.feature_fingerprint
    feature_set(ws, fingerprint, *encoder.feature_shape)
    total = count_segments(ws, collection, after_key=0) - count_features(ws, collection, fingerprint)
    work = Work(encoder=encoder, features=True, fingerprint=fingerprint, roots=media_roots(ws))
    return _run(
        _Stage(ws, collection, work, "extract", total, on_progress),
        runner,
        partial(pending_features, ws, collection, fingerprint),
        partial(put_features, ws, fingerprint),
        up_to_key,
    )


def _encode_layered(
    ws: Workspace,
    collection: str,
    encoder: LayeredEncoder,
    up_to_key: int,
    on_progress: OnProgress,
    runner: Runner,
) -> Encoded:
    done = extract_pending(
        ws, collection, encoder, up_to_key=up_to_key, on_progress=on_progress, runner=runner
    )
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
    work: Work
    name: str
    total: int
    on_progress: OnProgress


def _run(
    stage: _Stage,
    runner: Runner,
    pending: Callable[..., Batch],
    put: Callable[[list[int], NDArray[np.float32]], object],
    up_to_key: int,
) -> Encoded:
    """Read a batch, let the runner make something of it, write what came of the one before."""
    done = Encoded()
    with ExitStack() as stack:
        results = stack.enter_context(
            runner.run(stage.work, _pending(stage.work.encoder, pending, up_to_key))
        )
        run = stack.enter_context(behind())
        for made in results:
            done.encoder_s += made.encoder_s
            if made.rows is not None:
                run(partial(put, made.keys, made.rows))
            if made.letters:
                run(partial(put_dead_letters, stage.ws, stage.collection, made.letters))
            done.segments += len(made.keys)
            done.set_aside += len(made.letters)
            seen = done.segments + done.set_aside
            stage.on_progress(Progress(stage.name, seen, max(stage.total, seen)))
    seen = done.segments + done.set_aside
    stage.on_progress(Progress(stage.name, seen, seen))
    return done


def _pending(encoder: Encoder, pending: Callable[..., Batch], up_to_key: int) -> Iterator[Batch]:
    after_key = 0
    modalities = [Modality(modality) for modality in encoder.card.modalities]
    full = batch_segments(encoder)
    limit = max(1, full // FIRST_SHARE) if isinstance(encoder, MediaEncoder) else full
    while after_key < up_to_key:
        found = pending(limit=limit, after_key=after_key, modalities=modalities)
        batch = [(key, content) for key, content in found if key <= up_to_key]
        if not batch:
            return
        yield batch
        after_key, limit = batch[-1][0], full


def batch_segments(encoder: Encoder) -> int:
    """Tell how many segments are decoded and encoded together."""
    if not isinstance(encoder, MediaEncoder):
        return BATCH_SEGMENTS
    largest = max(decoded_bytes(spec) for spec in encoder.decode_specs.values())
    fitting = min(BATCH_SEGMENTS, BATCH_DECODED_BYTES // largest)
    return max(1, fitting - fitting % EVEN_SEGMENTS if fitting > EVEN_SEGMENTS else fitting)


def decoded_bytes(spec: DecodeSpec) -> int:
    """Estimate what one decoded content takes."""
    if isinstance(spec, AudioSpec):
        return int(4 * spec.sample_rate * min(spec.max_seconds, TYPICAL_SOUND_S))
    if isinstance(spec, ImageSpec):
        return 3 * spec.height * spec.width
    return spec.frames * decoded_bytes(spec.image)
