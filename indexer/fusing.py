"""Learning how to weigh vectors against BM25, for a version that is not published yet."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from encoders.encoder import Encoder
from indexer.encoding import checked
from retrieval.content import Content, Modality
from retrieval.fusion_learning import learn_fusion
from retrieval.index import Vectors
from retrieval.index_build import open_index_files
from retrieval.judgements import JudgedQuery
from retrieval.manifest import Manifest
from retrieval.publishing import OpenIndex
from retrieval.searcher import Searcher
from retrieval.workspace import Workspace


def fuse(
    ws: Workspace,
    staged: Path,
    manifest: Manifest,
    encoder: Encoder,
    queries: Sequence[JudgedQuery],
) -> Mapping[str, Any]:
    """Learn the fusion on validation queries; without enough of them nothing is learned.

    Args:
        ws: the workspace.
        staged: the folder that the index was built into.
        manifest: of the index, so far.
        encoder: that made its vectors.
        queries: judged, and never those of the test split.

    Returns:
        What the manifest keeps under `fusion`.

    Raises:
        EncoderFault: if the encoder makes vectors that cannot be used.
    """
    if not queries or not manifest.count or Modality.TEXT not in encoder.card.modalities:
        return {}

    def encode_queries(texts: Sequence[str]) -> Vectors:
        contents = [Content(Modality.TEXT, text) for text in texts]
        return checked(encoder, encoder.encode_queries(contents), len(contents))

    opened = OpenIndex(open_index_files(staged, manifest.parameters), manifest, "not published")
    searcher = Searcher(ws, manifest.collection, opened)
    try:
        return learn_fusion(searcher, encode_queries, queries)
    finally:
        searcher.close()
