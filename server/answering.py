"""Answering a batch of search requests: encode all, search all, serialise all. No threads, no network."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from encoders.encoder import Encoder
from retrieval.errors import (
    EncoderIndexMismatch,
    FailedPrecondition,
    ItemNotFound,
    TwinspireError,
    ZeroVector,
)
from retrieval.search import ScoreKind, SearchResult, VectorQuery
from retrieval.searcher import Searcher
from retrieval.workspace import Workspace
from server.alike_answering import AlikeAnswerer, Block, Outcome
from server.aspects import Aspects
from server.encoding import TaskEncoder, check_content
from server.failures import known
from server.task import Task
from server.translation.answers import AnswerWriter, Origin, timing_to
from server.translation.queries import Part, Plan
from server.translation.vectors import check_dims, is_ordinary, unit_vector

# Below this a difference of means is rounding, not a direction.
_NO_DIRECTION = 1e-6


class Answerer:
    """Answers searches of one loaded version: one encoder, one index."""

    def __init__(
        self,
        ws: Workspace,
        collection: str,
        origin: Origin,
        searcher: Searcher,
        encoder: Encoder | None,
        dims: int,
    ) -> None:
        self.origin = origin
        self._writer = AnswerWriter(origin)
        self._alike = AlikeAnswerer(searcher, self._writer)
        self.encoder = encoder
        self._aspects = Aspects(ws, collection, encoder, searcher.manifest.window_s)
        self.encoding = TaskEncoder(encoder, self._aspects)
        self._collection = collection
        self._searcher = searcher
        self._dims = dims

    def check(self, plan: Plan) -> None:
        """Refuse at once what this version cannot answer.

        Raises:
            EncoderIndexMismatch: if the caller expects another encoder.
            DimensionMismatch: if a vector is not as wide as the index.
            ModelNotLoaded: if something must be encoded and there is no encoder.
            ModalityNotServed: if the encoder does not take this kind of content.
        """
        expected = plan.expected_fingerprint
        if expected and expected != self.origin.encoder_fingerprint:
            raise EncoderIndexMismatch(self.origin.encoder_fingerprint, expected)
        for part in plan.parts:
            if part.vector is not None:
                check_dims(part.vector, self._dims, part.field)
            elif part.content is not None:
                check_content(self.encoder, part.content, part.field)

    def answer(self, tasks: Sequence[Task]) -> list[Outcome]:
        """Answer each task with a serialised SearchResponse or its error, in order."""
        return self.answer_all(tasks, [])[0]

    def answer_all(
        self, tasks: Sequence[Task], blocks: Sequence[Block]
    ) -> tuple[list[Outcome], list[bytes | list[Outcome]]]:
        """Answer tasks, and blocks of searches that are alike; what is alike is searched together.

        Returns:
            For each task what `answer` does, for each block what `AlikeAnswerer.answer` does, in order.
        """
        self.encoding.encode(tasks)
        own, plain = [], []
        for at, task in enumerate(tasks):
            if (block := self._block(task)) is not None:
                own.append(block)
                plain.append(at)
        answered = self._alike.answer([*own, *blocks])
        outcomes: list[Outcome] = [b""] * len(tasks)
        for at, block in zip(plain, own, strict=True):
            tasks[at].search_ms, tasks[at].fetch_ms = block.search_ms, block.fetch_ms
        for at, answer in zip(plain, answered, strict=False):
            outcomes[at] = answer if isinstance(answer, bytes) else answer[0]
        rest = [at for at, outcome in enumerate(outcomes) if outcome == b""]
        for at, outcome in zip(rest, self._answer_each([tasks[at] for at in rest]), strict=True):
            outcomes[at] = outcome
        return outcomes, answered[len(plain) :]

    def _block(self, task: Task) -> Block | None:
        """Make a block of one search that is alike others; None if it needs a closer look."""
        if task.plan.alike is None or task.error is not None:
            return None
        limit, params = task.plan.alike
        vector = task.plan.parts[0].vector
        if vector is None:
            vector = task.vectors[0]
        if vector.shape != (self._dims,) or not is_ordinary(vector):
            return None
        return Block(
            limit=limit,
            params=params,
            vectors=vector[None],
            started=task.started,
            enclosed=False,
            truncated=task.truncated,
            encode_ms=task.encode_ms,
            queue_ms=task.queue_ms,
        )

    def _answer_each(self, tasks: Sequence[Task]) -> list[Outcome]:
        queries: list[VectorQuery] = []
        asked: list[int] = []
        outcomes: list[Outcome] = []
        for at, task in enumerate(tasks):
            try:
                queries.append(self._query(task))
                asked.append(at)
            except Exception as error:
                task.error = known("query", error)
            outcomes.append(task.error or b"")
        for at, result in zip(asked, self._search(queries), strict=True):
            task = tasks[at]
            outcomes[at] = (
                result if isinstance(result, TwinspireError) else self._serialise(task, result, len(tasks))
            )
        return outcomes

    def _search(self, queries: list[VectorQuery]) -> Sequence[SearchResult | TwinspireError]:
        if not queries:
            return []
        try:
            return self._searcher.search(queries)
        except Exception as error:
            return [known("search", error)] * len(queries)

    def _query(self, task: Task) -> VectorQuery:
        if task.error is not None:
            raise task.error
        plan = task.plan
        if plan.aspects:
            return self._aspect_query(task)
        if len(plan.parts) == 1 and not plan.parts[0].item_id:
            vector = task.vectors[0] if plan.parts[0].vector is None else plan.parts[0].vector
            return plan.query(vector=vector)
        total = sum(self._vector(task, at, part) * part.weight for at, part in enumerate(plan.parts))
        assert isinstance(total, np.ndarray)
        if plan.score_kind != ScoreKind.EXAMPLES:
            return plan.query(vector=unit_vector(total, plan.parts[0].field))
        task.scale = math.sqrt(float(np.dot(total, total)))
        if task.scale < _NO_DIRECTION:
            raise ZeroVector(field="query.examples")
        query = plan.query(vector=unit_vector(total, "query.examples"))
        if query.score_threshold is None:
            return query
        return replace(query, score_threshold=query.score_threshold / task.scale)

    def _aspect_query(self, task: Task) -> VectorQuery:
        (part,) = task.plan.parts
        asked = self._aspects.query(task.plan.aspects, task.readings, part.item_id)
        vector = self._vector(task, 0, part)
        if asked is None:
            raise ItemNotEncoded(part.field, part.item_id)
        return task.plan.query(vector=unit_vector(vector, part.field), aspects=asked)

    def _vector(self, task: Task, at: int, part: Part) -> NDArray[np.float32]:
        if part.vector is not None:
            return part.vector
        if at in task.vectors:
            return task.vectors[at]
        found = self._searcher.item_vector(part.item_id)
        if found is not None:
            return found
        if self._searcher.has_item(part.item_id):
            raise ItemNotEncoded(part.field, part.item_id)
        raise ItemNotFound(self._collection, part.item_id)

    def _serialise(self, task: Task, result: SearchResult, batch_size: int) -> bytes:
        task.search_ms, task.fetch_ms = result.search_ms, result.fetch_ms
        timing = timing_to(
            encode_ms=task.encode_ms,
            search_ms=task.search_ms,
            fetch_ms=task.fetch_ms,
            queue_ms=task.queue_ms,
            total_ms=(time.perf_counter() - task.started) * 1e3,
            batch_size=batch_size,
        )
        return self._writer.write(
            result,
            score_kind=task.plan.score_kind,
            score_scale=task.scale,
            truncated=task.truncated,
            timing=timing,
        )


class ItemNotEncoded(FailedPrecondition):
    """An item is stored, but the live encoder has not read it yet."""

    reason = "ITEM_NOT_ENCODED"

    def __init__(self, field: str, id: str) -> None:
        super().__init__(f"{field}: item {id!r} has no vector of the live encoder yet: index the collection")
