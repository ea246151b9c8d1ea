"""What the client returns: frozen values, free of gRPC."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import TwinspireError
from retrieval.search import ScoreKind

Modality: TypeAlias = Literal["text", "image", "audio", "video"]


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a collection: an id, content, and flat attributes."""

    id: str  # 1 to 512 bytes of UTF-8
    text: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    uri: str = ""  # of a media file under a root that the server allows
    modality: Modality = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """How a score came about."""

    source: str  # where the hit was found: "index", "exact", "fresh" or "lexical"
    plan: str  # what the planner chose for a filtered search
    matching_segments: int
    dense_score: float | None
    dense_rank: int | None
    lexical_score: float | None
    lexical_rank: int | None
    alpha: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """An item found."""

    id: str
    score: float  # higher is better; `SearchResult.score_kind` tells the unit
    rank: int  # from 1
    text: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    uri: str = ""
    span: tuple[float, float] | None = None  # the best part: characters or seconds; None = all of it
    vector: NDArray[np.float32] | None = None
    relevance: float | None = None
    explanation: Explanation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Where the server's time went; encode, search and fetch are those of the batch the query was in."""

    encode_ms: float = 0.0
    search_ms: float = 0.0
    fetch_ms: float = 0.0
    queue_ms: float = 0.0
    total_ms: float = 0.0
    batch_size: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The answer to one query: hits, best first, and what made it."""

    hits: tuple[Hit, ...]
    score_kind: ScoreKind
    index_version: str
    encoder_fingerprint: str
    timing: Timing
    model_version: str = ""  # such as "tower@3"
    search_id: str = ""  # names this answer in votes
    variant: str = ""
    threshold: float | None = None
    partial: bool = False  # some part of the index did not answer
    truncated_query: bool = False  # the query was longer than the encoder reads


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFailure:
    """An item that was refused, while the others of its request were stored."""

    position: int  # in the iterable given
    id: str
    error: TwinspireError


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsertReport:
    """What an upsert has done so far, counting only what the server acknowledged as durable."""

    acknowledged: int = 0  # items, refused ones included
    inserted: int = 0
    replaced: int = 0
    unchanged: int = 0
    refused: int = 0
    failures: tuple[ItemFailure, ...] = ()  # the first 1,000 of the refused
    sequence: int = 0  # the collection's last durable change
    reconnects: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteResult:
    """What a deletion did, or with validate_only would do."""

    deleted: int
    missing_ids: tuple[str, ...]
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GetResult:
    """The items that exist, in the order asked for, and the ids that do not."""

    items: tuple[Item, ...]
    missing_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Vectors of some inputs, in their order."""

    vectors: NDArray[np.float32]  # unit rows, shape (n, dims)
    encoder_fingerprint: str
    truncated: tuple[int, ...]  # positions of inputs longer than the encoder reads


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """What identifies an encoder version."""

    name: str
    version: int
    kind: str
    modalities: tuple[str, ...]
    dims: int
    fingerprint: str
    max_words: int  # 0 = no limit
    training_data_digest: str
    metrics: Mapping[str, float]
    live: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A collection as the server sees it."""

    name: str
    item_count: int
    segment_count: int
    unindexed_count: int  # segments searched beside the index until the next build
    live_version: str  # empty: nothing is live
    encoder: Encoder | None
    ready: bool  # the live version is loaded and warm


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexVersion:
    """One built index of a collection."""

    version: str
    backend: str
    state: str  # "ready" or "quarantined"
    live: bool
    count: int
    dims: int
    encoder_fingerprint: str
    model_version: str
    recall: float  # recall@10 against exact search, measured at build
    parameters: Mapping[str, Any]
    created_at: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveVersionChange:
    """A switch of the live version."""

    previous_version: str
    live_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """How the database behind an index is."""

    fault: str  # not empty: why it does not tell; the rest is unset
    nodes: int
    cluster: bool
    used_bytes: int
    max_bytes: int  # 0 = no limit
    eviction_policy: str
    append_only: bool  # whether writes survive a restart
    collection_bytes: Mapping[str, int]
    concerns: tuple[str, ...]  # what an administrator should mend


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """What an index backend of the server can do."""

    name: str
    version: str
    filtered_search: bool
    exact_search: bool
    returns_vectors: bool
    memory_mapped: bool
    gpu: bool
    database: Database | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """What the server is."""

    version: str
    limits: Mapping[str, int]
    backends: tuple[Backend, ...]
    encoders: tuple[Encoder, ...]
    uptime_s: float
