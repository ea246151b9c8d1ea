"""Twinspire: a vector search engine service that owns its encoders.

`Client` and `AsyncClient` talk to a running server. Names are loaded when they are first used, so that
importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrieval.errors import TwinspireError
    from retrieval.filters import Exists, Filter, HasId, Match, Range
    from retrieval.search import Diversity, LinearFusion, RrfFusion, ScoreKind
    from twinspire import errors
    from twinspire.async_client import AsyncClient
    from twinspire.client import Client
    from twinspire.connection import Tls
    from twinspire.queries import Example, SearchQuery
    from twinspire.results import (
        Collection,
        DeleteResult,
        Encoded,
        Encoder,
        GetResult,
        Hit,
        IndexVersion,
        Item,
        ItemFailure,
        LiveVersionChange,
        SearchResult,
        ServerInfo,
        Timing,
        UpsertReport,
    )
    from twinspire.retries import RetryPolicy

_HOMES = {
    "AsyncClient": "twinspire.async_client",
    "Client": "twinspire.client",
    "Collection": "twinspire.results",
    "DeleteResult": "twinspire.results",
    "Diversity": "retrieval.search",
    "Encoded": "twinspire.results",
    "Encoder": "twinspire.results",
    "Example": "twinspire.queries",
    "Exists": "retrieval.filters",
    "Filter": "retrieval.filters",
    "GetResult": "twinspire.results",
    "HasId": "retrieval.filters",
    "Hit": "twinspire.results",
    "IndexVersion": "twinspire.results",
    "Item": "twinspire.results",
    "ItemFailure": "twinspire.results",
    "LinearFusion": "retrieval.search",
    "LiveVersionChange": "twinspire.results",
    "Match": "retrieval.filters",
    "Range": "retrieval.filters",
    "RetryPolicy": "twinspire.retries",
    "RrfFusion": "retrieval.search",
    "ScoreKind": "retrieval.search",
    "SearchQuery": "twinspire.queries",
    "SearchResult": "twinspire.results",
    "ServerInfo": "twinspire.results",
    "Timing": "twinspire.results",
    "Tls": "twinspire.connection",
    "TwinspireError": "retrieval.errors",
    "UpsertReport": "twinspire.results",
}

__all__ = [
    "AsyncClient",
    "Client",
    "Collection",
    "DeleteResult",
    "Diversity",
    "Encoded",
    "Encoder",
    "Example",
    "Exists",
    "Filter",
    "GetResult",
    "HasId",
    "Hit",
    "IndexVersion",
    "Item",
    "ItemFailure",
    "LinearFusion",
    "LiveVersionChange",
    "Match",
    "Range",
    "RetryPolicy",
    "RrfFusion",
    "ScoreKind",
    "SearchQuery",
    "SearchResult",
    "ServerInfo",
    "Timing",
    "Tls",
    "TwinspireError",
    "UpsertReport",
    "errors",
]


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("twinspire.errors")
    if name not in _HOMES:
        raise AttributeError(f"module 'twinspire' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
