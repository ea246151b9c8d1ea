"""A search that shows whether a workspace answers as it did where it was exported."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from encoders.loading import load_encoder
from indexer.bundle import Probe
from retrieval.content import Content, Modality
from retrieval.errors import (
    CorruptArtifact,
    FailedPrecondition,
    MissingExtra,
    ModelNotFound,
    TwinspireError,
)
from retrieval.item_vectors import item_vectors
from retrieval.items import get_items, list_items
from retrieval.opening import OpenIndex, open_index
from retrieval.registry import model_by_fingerprint
from retrieval.search import VectorQuery
from retrieval.searcher import Searcher
from retrieval.workspace import Workspace

WORDS = 10  # of a question
HITS = 10
# Another processor or library rounds otherwise; items so near to each other may change places.
TOLERANCE = 1e-3
# Items that are looked at for one that can be probed with.
_CANDIDATES = 100


class SmokeTestFailed(FailedPrecondition):
    """A restored collection answers otherwise than it did when it was exported."""

    reason = "SMOKE_TEST_FAILED"


def make_probe(ws: Workspace, collection: str, version: str) -> Probe | None:
    """Search a version for one of its own items, and note what is found; None if it has no vectors.

    Raises:
        TwinspireError: if the version or its encoder cannot be opened.
    """
    opened = open_index(ws, collection, version)
    try:
        for item in list_items(ws, collection, limit=_CANDIDATES):
            if item.modality == Modality.TEXT and item.text.strip():
                try:
                    return _noted(ws, collection, opened, Probe(item.id, WORDS, ()))
                except (MissingExtra, ModelNotFound):
                    pass  # this machine has not what the encoder needs, or there is none: take its vector
            if item_vectors(ws, collection, opened.manifest.fingerprint, [item.id]):
                return _noted(ws, collection, opened, Probe(item.id, 0, ()))
        return None
    finally:
        opened.index.close()


def _noted(ws: Workspace, collection: str, opened: OpenIndex, probe: Probe) -> Probe:
    return Probe(probe.item, probe.words, tuple(_search(ws, collection, opened, probe)))


def check_probe(ws: Workspace, collection: str, version: str, probe: Probe) -> None:
    """Open a version and do a probe's search again.

    Raises:
        SmokeTestFailed: if the hits are others.
        TwinspireError: if the version or its encoder cannot be opened.
    """
    opened = open_index(ws, collection, version)
    try:
        found = _search(ws, collection, opened, probe)
    finally:
        opened.index.close()
    if len(found) != len(probe.hits):
        raise SmokeTestFailed(
            f"collection {collection!r}: a search gave {len(found)} hits, expected {len(probe.hits)}"
        )
    for rank, ((id, score), (expected, expected_score)) in enumerate(
        zip(found, probe.hits, strict=True), start=1
    ):
        if abs(score - expected_score) > TOLERANCE:
            raise SmokeTestFailed(
                f"collection {collection!r}: a search gave {id!r} ({score:.3f}) at rank {rank},"
                f" expected {expected!r} ({expected_score:.3f})"
            )
    _check_ids(collection, found, probe.hits)


def _check_ids(
    collection: str, found: Sequence[tuple[str, float]], expected: Sequence[tuple[str, float]]
) -> None:
    """Compare the ids, but of those that are as near as the last one, of which others may stand there."""
    if not expected:
        return
    last = min(found[-1][1], expected[-1][1]) + TOLERANCE
    missing = {id for id, score in expected if score > last} - {id for id, _ in found}
    if missing:
        raise SmokeTestFailed(f"collection {collection!r}: a search did not find {sorted(missing)[0]!r}")


def _search(ws: Workspace, collection: str, opened: OpenIndex, probe: Probe) -> list[tuple[str, float]]:
    query = VectorQuery(vector=_vector(ws, collection, opened, probe), limit=HITS)
    searcher = Searcher(ws, collection, opened)
    (result,) = searcher.search([query])
    if isinstance(result, TwinspireError):
        raise result
    return [(hit.id, round(float(hit.score), 6)) for hit in result.hits]


def _vector(ws: Workspace, collection: str, opened: OpenIndex, probe: Probe) -> NDArray[np.float32]:
    """Return the vector of a probe, shape (dims,)."""
    fingerprint = opened.manifest.fingerprint
    if probe.words:
        encoder = load_encoder(model_by_fingerprint(ws, fingerprint).folder)
        if encoder.card.fingerprint != fingerprint:
            raise SmokeTestFailed(f"collection {collection!r}: the encoder is not the one of its index")
        items = get_items(ws, collection, [probe.item])
        if not items:
            raise SmokeTestFailed(f"collection {collection!r}: item {probe.item!r} is missing")
        text = " ".join(items[0].text.split()[: probe.words])
        vectors = encoder.encode_queries([Content(text=text)])
    else:
        stored = item_vectors(ws, collection, fingerprint, [probe.item])
        if probe.item not in stored:
            raise CorruptArtifact(f"collection {collection!r}: item {probe.item!r} has no vector")
        vectors = np.atleast_2d(stored[probe.item])
    vector: NDArray[np.float32] = vectors[0]
    return vector
