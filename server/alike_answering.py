"""Answering searches that are alike, of many calls at once: one search, answers written as arrays."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import TwinspireError
from retrieval.search import ScoreKind, SearchParams, SearchResult
from retrieval.searcher import Searcher
from server.failures import known
from server.translation.answers import AnswerWriter, batch_to, timing_to
from server.translation.vectors import unit_vectors

Outcome: TypeAlias = bytes | TwinspireError


@dataclass(slots=True, eq=False)
class Block:
    """Searches of one call that differ only in their vector."""

    limit: int
    params: SearchParams
    vectors: NDArray[np.float32]  # of any length but none and endless, shape (n, dims)
    started: float  # perf_counter when they came in
    enclosed: bool  # in a BatchSearchResponse
    truncated: bool = False
    encode_ms: float = 0.0
    queue_ms: float = 0.0
    search_ms: float = 0.0
    fetch_ms: float = 0.0

    def __len__(self) -> int:
        return len(self.vectors)


class AlikeAnswerer:
    """Answers blocks by one version. May be shared by threads."""

    def __init__(self, searcher: Searcher, writer: AnswerWriter) -> None:
        self._searcher = searcher
        self._writer = writer

    def answer(self, blocks: Sequence[Block]) -> list[bytes | list[Outcome]]:
        """Answer blocks, in order.

        Returns:
            For each the serialised response, of Search or of BatchSearch; where a search failed, the outcome
            of each search.
        """
        groups: dict[tuple[int, int, bool, bool | None], list[int]] = {}
        for place, block in enumerate(blocks):
            params = block.params
            key = block.limit, params.effort, params.exact, params.allow_partial
            groups.setdefault(key, []).append(place)
        answers: list[bytes | list[Outcome]] = [b""] * len(blocks)
        for places in groups.values():
            members = [blocks[place] for place in places]
            for place, answer in zip(places, self._answer_group(members), strict=True):
                answers[place] = answer
        return answers

    def _answer_group(self, blocks: Sequence[Block]) -> list[bytes | list[Outcome]]:
        try:
            outcomes = self._search(blocks)
        except Exception as error:
            failure = known("search", error)
            return [[failure] * len(block) for block in blocks]
        answers: list[bytes | list[Outcome]] = []
        first = 0
        for block in blocks:
            own = outcomes[first : first + len(block)]
            first += len(block)
            whole = [outcome for outcome in own if isinstance(outcome, bytes)]
            if len(whole) < len(own):
                answers.append(own)
            else:
                answers.append(batch_to(whole) if block.enclosed else whole[0])
        return answers

    def _search(self, blocks: Sequence[Block]) -> list[Outcome]:
        vectors = unit_vectors(np.concatenate([block.vectors for block in blocks]))
        found = self._searcher.search_alike(vectors, blocks[0].limit, blocks[0].params)
        now = time.perf_counter()
        asked: list[tuple[bool, bytes]] = []
        for block in blocks:
            block.search_ms, block.fetch_ms = found.search_ms, found.fetch_ms
            timing = timing_to(
                encode_ms=block.encode_ms,
                search_ms=block.search_ms,
                fetch_ms=block.fetch_ms,
                queue_ms=block.queue_ms,
                total_ms=(now - block.started) * 1e3,
                batch_size=len(vectors),
            )
            asked += [(block.truncated, timing)] * len(block)
        outcomes: list[Outcome] = [b""] * len(vectors)
        written = self._writer.write_alike(found.rows, found.scores, [asked[at] for at in found.regular])
        for at, answer in zip(found.regular, written, strict=True):
            outcomes[at] = answer
        for at, other in found.others.items():
            outcomes[at] = self._write(other, *asked[at]) if isinstance(other, SearchResult) else other
        return outcomes

    def _write(self, result: SearchResult, truncated: bool, timing: bytes) -> bytes:
        return self._writer.write(
            result, score_kind=ScoreKind.COSINE, score_scale=1.0, truncated=truncated, timing=timing
        )
