"""Searching a workspace in process: the server's own answers, without a network."""

import time
from types import TracebackType
from typing import Self

from protos.twinspire.v1 import search_pb2
from retrieval.collections import require_collection
from retrieval.errors import BackendUnavailable, TwinspireError
from retrieval.workspace import Workspace
from server.loading import Encoders, LoadedVersion, LoadEncoder, Loader, load_encoder_lazily
from server.task import Task
from server.translation.queries import Plan, plan_from


class LocalSearch:
    """Answers SearchRequests over a workspace as a server would. Close it, or use it in a `with` block."""

    def __init__(self, ws: Workspace, *, load_encoder: LoadEncoder = load_encoder_lazily) -> None:
        """Take an open workspace; versions are loaded when they are first asked for."""
        self._ws = ws
        self._encoders = Encoders(ws, load_encoder)
        self._loader = Loader(ws, self._encoders)
        self._loaded: dict[tuple[str, str], LoadedVersion] = {}

    def search(self, request: search_pb2.SearchRequest) -> search_pb2.SearchResponse:
        """Answer one search.

        Raises:
            TwinspireError: as the server would answer it: the classes are those of `retrieval.errors`.
        """
        plan = plan_from(request)
        loaded = self._find(plan)
        started = time.perf_counter()  # opening the workspace is no part of answering
        loaded.answerer.check(plan)
        (outcome,) = loaded.answerer.answer([Task(plan, started)])
        if isinstance(outcome, TwinspireError):
            raise outcome
        return search_pb2.SearchResponse.FromString(outcome)

    def _find(self, plan: Plan) -> LoadedVersion:
        key = (plan.collection, plan.index_version)
        loaded = self._loaded.get(key)
        if loaded is None:
            require_collection(self._ws, plan.collection)
            loaded = (
                self._loader.load(plan.collection, plan.index_version)
                if plan.index_version
                else self._loader.load_live(plan.collection)
            )
            if loaded is None:
                raise BackendUnavailable(
                    f"collection {plan.collection!r} has no live index yet: "
                    f"run `twinspire index {plan.collection} --encoder NAME`"
                )
            self._loaded[key] = loaded
        return loaded

    def close(self) -> None:
        """Release all loaded versions."""
        while self._loaded:
            self._loaded.popitem()[1].close()
        self._encoders.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
