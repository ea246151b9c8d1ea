"""Held-out queries that an index is tuned on: real ones if there are any, else pieces of the items."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from encoders.encoder import Encoder
from indexer.runners import checked
from retrieval.content import Content, Modality
from retrieval.embeddings import embedded_keys
from retrieval.judgements import JudgedQuery, judged_queries
from retrieval.segments import locate, segment_texts
from retrieval.workspace import Workspace

SAMPLE_QUERIES = 400
FEWEST_REAL_QUERIES = 50  # with fewer, the measured recall would say little
QUERY_WORDS = (4, 12)  # of a query that is cut from an item


def validation_queries(ws: Workspace, collection: str) -> list[JudgedQuery]:
    """Return the judged queries that parameters are learned on: never those of the test split."""
    return judged_queries(ws, collection, "validation")


def queries_digest(queries: Sequence[JudgedQuery]) -> str:
    """Tell whether what was learned on judged queries is still what would be learned.

    >>> queries_digest([])
    ''
    """
    if not queries:
        return ""
    digest = hashlib.sha256()
    for query in sorted(queries, key=lambda query: query.id):
        digest.update(repr((query.id, query.text, sorted(query.grades.items()))).encode())
    return digest.hexdigest()[:16]


def sample_queries(
    ws: Workspace, collection: str, encoder: Encoder, validation: Sequence[JudgedQuery]
) -> NDArray[np.float32]:
    """Return queries to tune on, as vectors: shape (n, dims), n at most SAMPLE_QUERIES.

    They are the validation queries; without enough of these, short spans of words from the items' own
    texts; without texts, none, and vectors of the index stand in for them.
    """
    if len(validation) >= FEWEST_REAL_QUERIES:
        chosen = np.random.default_rng(0).permutation(len(validation))[:SAMPLE_QUERIES]
        texts = [validation[place].text for place in sorted(chosen)]
    else:
        texts = _spans(ws, collection, encoder.card.fingerprint)
    contents = [Content(Modality.TEXT, text) for text in texts]
    if not contents or Modality.TEXT not in encoder.card.modalities:
        return np.empty((0, encoder.card.dims), dtype=np.float32)
    return checked(encoder, encoder.encode_queries(contents), len(contents))


def _spans(ws: Workspace, collection: str, fingerprint: str) -> list[str]:
    random = np.random.default_rng(0)
    keys = random.permutation(embedded_keys(ws, collection, fingerprint))[:SAMPLE_QUERIES]
    alive = sorted(locate(ws, collection, keys))
    spans = []
    for content in segment_texts(ws, collection, alive):
        words = re.findall(r"\S{1,50}", content.text[:20_000])
        if words:
            length = int(random.integers(*QUERY_WORDS))
            start = int(random.integers(0, max(1, len(words) - length)))
            spans.append(" ".join(words[start : start + length]))
    return spans
