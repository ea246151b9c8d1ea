"""Queries on their way from a batch to their answers: how far each looks, and what it found so far."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from retrieval.exact_index import SCORE_DECIMALS
from retrieval.hits import Candidates
from retrieval.index import NO_KEY, Neighbors, Selection
from retrieval.planner import SPARE
from retrieval.row_cache import name_of
from retrieval.search import SearchParams, VectorQuery

NOTHING_YET = Candidates([], [], False, "")


@dataclass(slots=True)
class Task:
    """A query on its way."""

    place: int  # in the batch
    query: VectorQuery
    fetch: int
    candidates: Candidates


def first_fetch(query: VectorQuery) -> int:
    """Return how many candidates a query looks at first."""
    wanted = query.limit
    if query.diversity is not None:
        wanted = max(query.diversity.candidates or 3 * query.limit, query.limit)
    if query.params.oversampling > 1:
        wanted = math.ceil(wanted * query.params.oversampling)
    return wanted + len(query.exclude_ids) + SPARE


def in_groups(tasks: Sequence[Task], may_miss: Callable[[SearchParams], bool]) -> list[list[Task]]:
    """Put together the queries that one search of the index may serve.

    Args:
        tasks: queries of one batch.
        may_miss: whether a search may leave out parts that do not answer.
    """
    groups: dict[tuple[str, int, bool, bool, bool, bool], list[Task]] = {}
    for task in tasks:
        query, params = task.query, task.query.params
        filter_name = "" if query.filter is None else name_of(query.filter)
        partial, by_words, by_aspects = may_miss(params), bool(query.lexical_text), query.aspects is not None
        group = (filter_name, params.effort, params.exact, partial, by_words, by_aspects)
        groups.setdefault(group, []).append(task)
    return list(groups.values())


def fill_in(tasks: Sequence[Task], nearest: Neighbors, places: Sequence[int]) -> None:
    """Give each task the candidates that lie at its place."""
    keys, scores = nearest.keys[places], nearest.scores[places]
    tied = (scores[:, 1:] == scores[:, :-1]).any(axis=1).tolist()
    there = np.count_nonzero(keys != NO_KEY, axis=1).tolist()
    for task, row_keys, row_scores, found, is_tied in zip(
        tasks, keys.tolist(), scores.tolist(), there, tied, strict=True
    ):
        fetch = task.fetch
        if found < len(row_keys) or fetch < len(row_keys):
            row_keys, row_scores = row_keys[: min(found, fetch)], row_scores[: min(found, fetch)]
        task.candidates = Candidates(
            row_keys, row_scores, found < fetch, nearest.plan, is_tied, partial=nearest.partial
        )


def fill_in_by_aspects(task: Task, selection: Selection | None) -> None:
    """Give a task what the readings of its aspects find."""
    aspects = task.query.aspects
    assert aspects is not None
    keys, scores = aspects.readings.search(aspects.wanted, aspects.weights, task.fetch, selection)
    scores = scores.round(SCORE_DECIMALS)
    task.candidates = Candidates(
        keys=keys.tolist(),
        scores=scores.tolist(),
        complete=len(keys) < task.fetch,
        plan="aspects",
        tied=bool((scores[1:] == scores[:-1]).any()),
        measure="aspects",
    )
