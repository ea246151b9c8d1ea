"""Learning how to weigh vectors against BM25, for a version that is not published yet."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from encoders.encoder import Encoder
from indexer.runners import checked
from retrieval.content import Content, Modality
from retrieval.filters import Filter
from retrieval.fusion import MIN_DEPTH
from retrieval.fusion_learning import learn_fusion
from retrieval.index import Vectors
from retrieval.index_build import open_index_files
from retrieval.judgements import JudgedQuery
from retrieval.lexical_batch import LexicalBatch
from retrieval.manifest import Manifest
from retrieval.opening import OpenIndex
from retrieval.searcher import Searcher
from retrieval.workspace import Workspace

LexicalHits: TypeAlias = list[tuple[int, str, float]]  # item rowid, id, score


@dataclass(frozen=True, slots=True)
class Words:
    """What BM25 says of the validation queries: read while the encoder and the index are at work."""

    batch: LexicalBatch
    hits: Mapping[str, LexicalHits]  # by query


@contextmanager
def words_ahead(
    ws: Workspace, collection: str, queries: Sequence[JudgedQuery]
) -> Iterator[Future[Words] | None]:
    """Search the words of the queries in a thread; the end waits for it, and raises what it raised.

    Yields:
        What comes of it; None without queries: then no text is looked at.
    """
    if not queries:
        yield None
        return

    def read() -> Words:
        batch = LexicalBatch(ws, collection)
        texts = [query.text for query in queries]
        return Words(batch, dict(zip(texts, batch.search(texts, MIN_DEPTH), strict=True)))

    with ThreadPoolExecutor(1, "words-ahead") as pool:
        words = pool.submit(read)
        yield words
        words.result()


def fuse(
    ws: Workspace,
    staged: Path,
    manifest: Manifest,
    encoder: Encoder,
    queries: Sequence[JudgedQuery],
    words: Future[Words] | None,
) -> Mapping[str, Any]:
    """Learn the fusion on validation queries; without enough of them nothing is learned.

    Args:
        ws: the workspace.
        staged: the folder that the index was built into.
        manifest: of the index, so far.
        encoder: that made its vectors.
        queries: judged, and never those of the test split.
        words: of these queries, from `words_ahead`; None without queries.

    Returns:
        What the manifest keeps under `fusion`.

    Raises:
        EncoderFault: if the encoder makes vectors that cannot be used.
    """
    if words is None or not manifest.count or Modality.TEXT not in encoder.card.modalities:
        return {}

    def encode_queries(texts: Sequence[str]) -> Vectors:
        contents = [Content(Modality.TEXT, text) for text in texts]
        return checked(encoder, encoder.encode_queries(contents), len(contents))

    opened = OpenIndex(open_index_files(staged, manifest.parameters), manifest, "not published")
    searcher = _Searcher(ws, manifest.collection, opened, words.result())
    try:
        return learn_fusion(searcher, encode_queries, queries)
    finally:
        searcher.close()


class _Searcher(Searcher):
    """A searcher whose words were read before."""

    def __init__(self, ws: Workspace, collection: str, opened: OpenIndex, words: Words) -> None:
        super().__init__(ws, collection, opened)
        self._words = words

    def lexical_search(self, texts: Sequence[str], limit: int, filter: Filter | None) -> list[LexicalHits]:
        """Look up what was found."""
        return [self._words.hits[text][:limit] for text in texts]

    def lexical_scores(self, texts: Sequence[str], items: Sequence[Sequence[int]]) -> list[dict[int, float]]:
        """Score items by the words that were read."""
        found = self._words.batch.scores(texts, items)
        return [dict(zip(*pair, strict=True)) for pair in zip(items, found, strict=True)]
