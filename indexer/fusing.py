"""Learning how to weigh BM25 against vectors, for one index version."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from encoders.encoder import Encoder
from retrieval.judgements import JudgedQuery
from retrieval.manifest import Manifest
from retrieval.workspace import Workspace


def fuse(
    ws: Workspace,
    collection: str,
    staged: Path,
    manifest: Manifest,
    encoder: Encoder,
    queries: Sequence[JudgedQuery],
) -> Mapping[str, Any]:
    """Learn the fusion of a version that is not published yet; nothing is learned without queries."""
    return {}
