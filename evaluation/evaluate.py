"""Measures an index version with its encoder on a collection's judged queries."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from encoders.loading import load_encoder
from evaluation.measurement import Measurement, Stopwatch, System
from evaluation.records import record_run
from evaluation.results import Comparison, Evaluation, SystemScores, compare, compare_scores, score_run
from evaluation.runs import RetrievalRun
from evaluation.trec import read_run
from retrieval.errors import EncoderIndexMismatch, InvalidInput, ModelNotLoaded
from retrieval.judgements import SPLITS, JudgedQuery, judged_queries
from retrieval.opening import open_index, open_live
from retrieval.publishing import READY, list_versions
from retrieval.registry import find_model, model_by_fingerprint
from retrieval.workspace import Workspace

OnStep: TypeAlias = Callable[[str], None]


def evaluate(
    ws: Workspace,
    collection: str,
    split: str = "test",
    *,
    encoder: str = "",
    version: str = "",
    hybrid: bool = False,
    details: bool = False,
    seed: int = 0,
    record: bool = True,
    on_step: OnStep | None = None,
) -> Evaluation:
    """Measure how well searching finds what was judged relevant, over the full corpus, beside BM25.

    Args:
        ws: the workspace.
        collection: whose queries and index.
        split: of the queries: train, validation or test.
        encoder: `name` or `name@version`: its newest index is measured.
        version: the index version to measure. Without either, the live one.
        hybrid: measure the fusion with BM25; dense search then stands beside it.
        details: also measure what only the report shows: recall against speed, and how scores spread.
        seed: of the bootstrap.
        record: keep the run in the registry, with its figures for each query.
        on_step: called with what begins now, for people.

    Raises:
        CollectionNotFound: if there is no such collection.
        InvalidInput: if the split has no query with a relevant item.
        ModelNotLoaded: if the collection has no live index, or the encoder none at all.
        ModelNotFound: if there is no such encoder.
        VersionNotFound: if there is no such index version.
        EncoderIndexMismatch: if encoder and version are given and do not belong together.
        MissingExtra: if ir-measures is not installed.
    """
    queries = _queries(ws, collection, split)
    system = open_system(ws, collection, encoder=encoder, version=version)
    measurement = Measurement(ws, collection, split, queries, system, seed, Stopwatch(on_step))
    try:
        result = measurement.run(hybrid=hybrid, details=details)
    finally:
        system.opened.index.close()
    return replace(result, run_id=record_run(ws, result)) if record else result


def evaluate_reference(
    ws: Workspace,
    collection: str,
    reference: str,
    split: str = "test",
    *,
    hybrid: bool = False,
    seed: int = 0,
    record: bool = True,
    on_step: OnStep | None = None,
) -> Evaluation:
    """Measure what a person names: an index version, or else an encoder. Raises as `evaluate` does."""
    is_version = _is_version(ws, collection, reference)
    return evaluate(
        ws,
        collection,
        split,
        encoder="" if is_version else reference,
        version=reference if is_version else "",
        hybrid=hybrid,
        seed=seed,
        record=record,
        on_step=on_step,
    )


def compare_references(
    ws: Workspace,
    collection: str,
    references: tuple[str, str],
    split: str = "test",
    *,
    hybrid: bool = False,
    seed: int = 0,
    on_step: OnStep | None = None,
) -> Comparison:
    """Compare what a person names: index versions, encoders, or TREC run files of other systems.

    Raises:
        UnreadableSource: if a file is not a run.
        InvalidInput: if the two were measured on other queries.
        And what `evaluate` raises.
    """
    for reference in references:  # before minutes go into the first, if the second is misspelt
        if not Path(reference).is_file() and not _is_version(ws, collection, reference):
            _newest_version(ws, collection, reference, find_model(ws, reference).fingerprint)
    measured: list[Evaluation | SystemScores] = [
        score_foreign_run(ws, collection, read_run(Path(reference)), split, seed=seed)
        if Path(reference).is_file()
        else evaluate_reference(ws, collection, reference, split, hybrid=hybrid, seed=seed, on_step=on_step)
        for reference in references
    ]
    a, b = measured
    if isinstance(a, Evaluation) and isinstance(b, Evaluation):
        return compare(a, b)
    (a_name, a_scores), (b_name, b_scores) = _named(a), _named(b)
    return compare_scores(a_name, a_scores, b_name, b_scores, seed=seed)


def _is_version(ws: Workspace, collection: str, reference: str) -> bool:
    return any(known.version == reference for known in list_versions(ws, collection))


def _named(measured: Evaluation | SystemScores) -> tuple[str, SystemScores]:
    return (
        (measured.model, measured.scores) if isinstance(measured, Evaluation) else (measured.name, measured)
    )


def score_foreign_run(
    ws: Workspace, collection: str, run: RetrievalRun, split: str = "test", *, seed: int = 0
) -> SystemScores:
    """Measure what another system found, such as a TREC run read by `trec.read_run`, on our judgements.

    Two such scores, or one and an evaluation's, are compared by `results.compare_scores`.

    Raises:
        CollectionNotFound: if there is no such collection.
        InvalidInput: if the split has no query with a relevant item.
        MissingExtra: if ir-measures is not installed.
    """
    return score_run(run, {query.id: query.grades for query in _queries(ws, collection, split)}, seed=seed)


def _queries(ws: Workspace, collection: str, split: str) -> list[JudgedQuery]:
    queries = [
        query for query in judged_queries(ws, collection, split) if max(query.grades.values(), default=0) > 0
    ]
    if not queries:
        raise InvalidInput(
            f"collection {collection!r} has no judged query with a relevant item in the split {split!r}: "
            f"import some (beir, msmarco), or choose another split of {', '.join(SPLITS)}",
            field="split",
        )
    return queries


def open_system(ws: Workspace, collection: str, *, encoder: str = "", version: str = "") -> System:
    """Open the index version to measure and the encoder that made it. Raises as `evaluate` does."""
    fingerprint = find_model(ws, encoder).fingerprint if encoder else ""
    if version:
        opened = open_index(ws, collection, version)
    elif fingerprint:
        opened = open_index(ws, collection, _newest_version(ws, collection, encoder, fingerprint))
    else:
        live = open_live(ws, collection)
        if live is None:
            raise ModelNotLoaded(
                f"collection {collection!r} has no live index: "
                f"run `twinspire index {collection} --encoder NAME`"
            )
        opened = live
    if fingerprint and opened.manifest.fingerprint != fingerprint:
        raise EncoderIndexMismatch(opened.manifest.fingerprint, fingerprint)
    model = model_by_fingerprint(ws, opened.manifest.fingerprint)
    return System(opened, load_encoder(model.folder), model)


def _newest_version(ws: Workspace, collection: str, encoder: str, fingerprint: str) -> str:
    made = [
        known
        for known in list_versions(ws, collection)
        if known.manifest.fingerprint == fingerprint and known.state == READY
    ]
    if not made:
        raise ModelNotLoaded(
            f"collection {collection!r} has no index by {encoder}: "
            f"run `twinspire index {collection} --encoder {encoder} --no-promote`"
        )
    return next((known.version for known in made if known.live), made[0].version)
