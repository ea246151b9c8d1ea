"""Where encoders run: in this process, or elsewhere. Whoever asks commits what comes back."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from encoders.device import device
from encoders.encoder import Encoder, LayeredEncoder, MediaEncoder
from encoders.memory import encode_within_memory
from indexer.threads import ahead
from retrieval.content import Content
from retrieval.dead_letters import DeadLetter
from retrieval.errors import EncoderFault, InvalidInput, PermissionDenied, TwinspireError

UNIT_TOLERANCE = 1e-3

Batch: TypeAlias = list[tuple[int, Content]]  # keys of segments, and what is in them
Make: TypeAlias = Callable[[Sequence[Content]], NDArray[np.float32]]


@dataclass(slots=True)
class Made:
    """What came of a batch."""

    keys: list[int] = field(default_factory=list)
    rows: NDArray[np.float32] | None = None  # one for each key; None without any
    letters: list[DeadLetter] = field(default_factory=list)  # what could not be read
    encoder_s: float = 0.0  # in the encoder itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be made of segments."""

    encoder: Encoder
    features: bool  # of a LayeredEncoder, rather than vectors
    fingerprint: str  # of what is made
    roots: Mapping[str, Path]  # that media files lie under


class Runner(Protocol):
    """Runs an encoder over batches."""

    def run(self, work: Work, batches: Iterator[Batch]) -> AbstractContextManager[Iterator[Made]]:
        """Make something of each batch; in any order, and a batch may come back in parts.

        Raises:
            EncoderFault: if the encoder makes what no index may hold.
            EncoderOutOfMemory: if a single segment does not fit into the memory.
            MissingExtra: if decoding needs a library that is not installed.
        """
        ...


class LocalRunner:
    """Runs the encoder here.

    For a GPU, a batch is decoded while the one before is encoded. On the CPU the two take turns, each with
    all cores: a model's threads wait for the slowest of them, which is whichever shares its core with a
    process that decodes.
    """

    @contextmanager
    def run(self, work: Work, batches: Iterator[Batch]) -> Iterator[Iterator[Made]]:
        """Make something of each batch, in order."""
        make = maker(work.encoder, features=work.features)
        with ExitStack() as stack:
            decode = stack.enter_context(decoding(work.encoder, work.roots, work.fingerprint))
            decoded: Iterator[tuple[Batch, list[DeadLetter]]]
            if _computes_on_cores(work.encoder):
                decoded = map(decode, stack.enter_context(ahead(batches)))
            else:
                decoded = stack.enter_context(ahead(map(decode, batches)))
            yield (_made(make, batch, letters) for batch, letters in decoded)


def _computes_on_cores(encoder: Encoder) -> bool:
    """Tell whether an encoder takes the cores that decoding needs."""
    return isinstance(encoder, MediaEncoder) and device().type == "cpu"


def _made(make: Make, batch: Batch, letters: list[DeadLetter]) -> Made:
    started = time.perf_counter()
    rows = make([content for _, content in batch]) if batch else None
    return Made([key for key, _ in batch], rows, letters, time.perf_counter() - started)


def maker(encoder: Encoder, *, features: bool) -> Make:
    """Return what makes rows of contents: vectors that are checked, or features."""
    if features:
        assert isinstance(encoder, LayeredEncoder)
        extract = encoder.extract
        return lambda contents: encode_within_memory(extract, contents)
    return lambda contents: encode_items(encoder, contents)


@contextmanager
def decoding(
    encoder: Encoder, roots: Mapping[str, Path], fingerprint: str
) -> Iterator[Callable[[Batch], tuple[Batch, list[DeadLetter]]]]:
    """Return what decodes a batch; what cannot be read comes out as dead letters."""
    if not isinstance(encoder, MediaEncoder):
        yield lambda batch: (batch, [])
        return
    from encoders.media.decoding import Decoder
    from encoders.media.preparing import prepare

    specs = encoder.decode_specs
    with Decoder() as decoder:

        def decode(batch: Batch) -> tuple[Batch, list[DeadLetter]]:
            good: Batch = []
            letters: list[DeadLetter] = []
            prepared = prepare([content for _, content in batch], specs, decoder, roots)
            for (key, content), outcome in zip(batch, prepared, strict=True):
                if isinstance(outcome, Content):
                    good.append((key, outcome))
                else:
                    letters.append(_letter(key, content, outcome, fingerprint))
            return good, letters

        yield decode


def _letter(key: int, content: Content, error: TwinspireError, fingerprint: str) -> DeadLetter:
    """Set a segment aside for what is wrong with its file; other errors are not the file's."""
    if not isinstance(error, InvalidInput | PermissionDenied):
        raise error
    return DeadLetter(content.uri, error.reason, str(error), key, fingerprint)


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
