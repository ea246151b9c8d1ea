"""Filling a collection, indexing it and searching it, in the fewest words."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from retrieval.embeddings import encoder_row, put_embeddings
from retrieval.index import Keys, Vectors
from retrieval.items import Item, upsert_items
from retrieval.opening import open_index
from retrieval.search import SearchResult, VectorQuery
from retrieval.searcher import Searcher
from retrieval.segments import pending_segments
from retrieval.workspace import Workspace
from tests.retrieval.index_versions import publish_vectors
from tests.vectors import unit_rows

FINGERPRINT = "f" * 64
DIMS = 8

Embed: TypeAlias = Callable[[str], Vectors]
East, North = np.eye(2, DIMS, dtype=np.float32)


def direction(text: str) -> Vectors:
    """Return a unit vector that depends on the text alone."""
    vector: Vectors = unit_rows(1, DIMS, seed=zlib.crc32(text.encode()))[0]
    return vector


def embed_pending(ws: Workspace, embed: Embed = direction) -> tuple[Keys, Vectors]:
    """Store a vector for each segment that has none."""
    encoder_row(ws, FINGERPRINT, DIMS)
    pending = pending_segments(ws, "c", FINGERPRINT, limit=10_000)
    keys = np.array([key for key, _ in pending], dtype=np.int64)
    vectors = np.array([embed(content.text) for _, content in pending], dtype=np.float32).reshape(-1, DIMS)
    put_embeddings(ws, FINGERPRINT, keys, vectors)
    return keys, vectors


def put(ws: Workspace, *ids: str, text: str = "", embed: Embed = direction, **attributes: Any) -> None:
    put_items(ws, [Item(id, text=text or f"text {id}", attributes=attributes) for id in ids], embed)


def put_items(ws: Workspace, items: Sequence[Item], embed: Embed = direction) -> None:
    upsert_items(ws, "c", items)
    embed_pending(ws, embed)


def build(ws: Workspace, **overrides: object) -> Searcher:
    """Index all that has a vector."""
    rows = ws.fetch("SELECT segment, vector FROM embeddings ORDER BY segment")
    keys = np.array([key for key, _ in rows], dtype=np.int64)
    vectors = np.array([np.frombuffer(raw, "<f4") for _, raw in rows], dtype=np.float32).reshape(-1, DIMS)
    version = publish_vectors(ws, keys, vectors, fingerprint=FINGERPRINT, **overrides)
    return Searcher(ws, "c", open_index(ws, "c", version))


def ask(searcher: Searcher, vector: Vectors, **options: Any) -> SearchResult:
    (outcome,) = searcher.search([VectorQuery(vector=vector, **options)])
    assert isinstance(outcome, SearchResult), outcome
    return outcome


def ids(result: SearchResult) -> list[str]:
    return [hit.id for hit in result.hits]


def at(*places: float) -> Vectors:
    """Return the direction with these coordinates."""
    vector = np.zeros(DIMS, dtype=np.float32)
    vector[: len(places)] = places
    vector /= np.linalg.norm(vector)
    return vector


def spread(places: Mapping[str, Sequence[float]]) -> Embed:
    """Embed each text at the place given for its first word."""
    return lambda text: at(*places[text.split()[0]])
