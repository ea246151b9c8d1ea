"""`bench index`: importing and indexing through the command line, beside the bare encoder and bare FAISS."""

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from encoders.encoder import Encoder
from encoders.loading import load_encoder
from evaluation.bench.growth import GrowthPoint, growth_table, measure_growth, write_jsonl
from evaluation.bench.processes import CommandResult, run_command
from evaluation.bench.result import BenchResult, BenchTable, PairedRatio, machine_line, paired_ratio
from evaluation.bench.workspaces import copy_model
from retrieval.collections import create_collection
from retrieval.content import Content
from retrieval.errors import InvalidInput, ModelNotLoaded
from retrieval.index_build import build_index
from retrieval.index_types import IndexParameters
from retrieval.items import list_items
from retrieval.judgements import JudgedQuery, judged_queries, put_judged_queries
from retrieval.publishing import list_versions
from retrieval.registry import ModelRow, find_model, model_by_fingerprint
from retrieval.workspace import Workspace

OnStep: TypeAlias = Callable[[str], None]

_READ = 2000
_BARE_BATCH = 2048  # contents given to the bare encoder at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexBenchOptions:
    """What to measure."""

    encoder: str = ""  # name or name@version; empty: the one of the newest index version
    rounds: int = 3  # of the paired measurement
    sizes: tuple[int, ...] = (10_000, 100_000)  # of the growth table; empty: none


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    """One import and indexing from nothing, and the same without us."""

    imported: CommandResult
    imported_again: CommandResult
    indexed: CommandResult
    indexed_again: CommandResult
    bare_encoder_s: float
    bare_index_s: float


@dataclass(frozen=True, slots=True)
class _Corpus:
    """What is imported and indexed."""

    texts: Sequence[tuple[str, str]]  # id, text
    queries: Sequence[JudgedQuery]
    model: ModelRow


def bench_index(
    root: Path, collection: str, options: IndexBenchOptions | None = None, on_step: OnStep | None = None
) -> BenchResult:
    """Import and index a collection's items again, in workspaces made for it.

    Args:
        root: the workspace that the items and the encoder come from; it is not changed.
        collection: whose items.
        options: what to measure.
        on_step: called with what begins now, for people.

    Raises:
        CollectionNotFound: if there is no such collection.
        ModelNotLoaded: if no encoder is named and the collection has no index.
        InvalidInput: if the collection has no items.
        InternalError: if a command fails.
    """
    options, on_step = options or IndexBenchOptions(), on_step or (lambda step: None)
    machine = machine_line()
    with Workspace(root) as ws:
        corpus = _corpus(ws, collection, options.encoder)
    rounds = []
    for number in range(options.rounds):
        on_step(f"round {number + 1} of {options.rounds}: import and index {len(corpus.texts):,} items")
        rounds.append(_round(corpus))
    points: list[GrowthPoint] = []
    for size in options.sizes:
        on_step(f"grow to {size:,}")
        texts = [text for _, text in corpus.texts]
        points.append(measure_growth(corpus.model, texts, [query.text for query in corpus.queries], size))
    return _result(machine, corpus, rounds, points)


def _corpus(ws: Workspace, collection: str, encoder: str) -> _Corpus:
    texts = list(_texts(ws, collection))
    if not texts:
        raise InvalidInput(f"collection {collection!r} has no texts to index: import some")
    if encoder:
        model = find_model(ws, encoder)
    else:
        versions = list_versions(ws, collection)
        if not versions:
            raise ModelNotLoaded(f"collection {collection!r} has no index: name an encoder")
        model = model_by_fingerprint(ws, versions[0].manifest.fingerprint)
    return _Corpus(texts, judged_queries(ws, collection), model)


def _texts(ws: Workspace, collection: str) -> Iterable[tuple[str, str]]:
    after = 0
    while items := list_items(ws, collection, after_rowid=after, limit=_READ):
        yield from ((item.id, item.text) for item in items if item.text)
        after = items[-1].rowid


def _round(corpus: _Corpus) -> _Round:
    with tempfile.TemporaryDirectory() as folder:
        root, source = Path(folder) / "workspace", Path(folder) / "items.jsonl"
        write_jsonl(source, corpus.texts)
        with Workspace(root, create=True) as ws:
            copy_model(corpus.model, ws)
            create_collection(ws, "bench")
            put_judged_queries(ws, "bench", corpus.queries)
        imported, imported_again = (
            run_command(root, "import", "jsonl", str(source), "--collection", "bench") for _ in range(2)
        )
        index = ("index", "bench", "--encoder", corpus.model.reference)
        indexed, indexed_again = (run_command(root, *index) for _ in range(2))
        with Workspace(root) as ws:
            parameters = list_versions(ws, "bench")[0].manifest.parameters
        encoder = load_encoder(corpus.model.folder)
        encoder_s, index_s = _bare(encoder, [text for _, text in corpus.texts], parameters)
    return _Round(
        imported=imported,
        imported_again=imported_again,
        indexed=indexed,
        indexed_again=indexed_again,
        bare_encoder_s=encoder_s,
        bare_index_s=index_s,
    )


def _bare(encoder: Encoder, texts: Sequence[str], parameters: IndexParameters) -> tuple[float, float]:
    """Encode all texts and build the index with nothing around it.

    The effort is given, so that the build measures nothing; all vectors come as one batch.

    Returns:
        Seconds in the encoder, and seconds of the build.
    """
    contents = [Content(text=text) for text in texts]
    started = time.perf_counter()
    vectors = np.concatenate(
        [
            encoder.encode_items(contents[start : start + _BARE_BATCH])
            for start in range(0, len(contents), _BARE_BATCH)
        ]
    )
    encoded = time.perf_counter()
    keys = np.arange(1, len(vectors) + 1)
    with tempfile.TemporaryDirectory() as folder:
        built = build_index(Path(folder), [(keys, vectors)], vectors.shape[1], parameters, vectors[:20], None)
    return encoded - started, built.build_s


def _result(
    machine: str, corpus: _Corpus, rounds: Sequence[_Round], points: Sequence[GrowthPoint]
) -> BenchResult:
    figures: dict[str, Any] = {
        "n": len(corpus.texts),
        "model": corpus.model.reference,
        "growth": [point.to_json() for point in points],
    }
    tables = [growth_table(points)] if points else []
    if not rounds:
        return BenchResult(name="index", machine=machine, tables=tables, figures=figures)
    bare = [each.bare_encoder_s + each.bare_index_s for each in rounds]
    ratio = paired_ratio([each.indexed.seconds for each in rounds], bare)
    middle = sorted(rounds, key=lambda each: each.indexed.seconds)[len(rounds) // 2]
    return BenchResult(
        name="index",
        machine=machine,
        tables=[_table(corpus, middle, ratio), *tables],
        figures=figures | _round_figures(corpus, rounds, middle, ratio),
        ratios={"indexing_over_bare": ratio.median},
    )


def _round_figures(
    corpus: _Corpus, rounds: Sequence[_Round], middle: _Round, ratio: PairedRatio
) -> dict[str, Any]:
    return {
        "import_rows_per_s": float(np.median([len(corpus.texts) / each.imported.seconds for each in rounds])),
        "import_s": [each.imported.seconds for each in rounds],
        "import_again_s": [each.imported_again.seconds for each in rounds],
        "index_s": [each.indexed.seconds for each in rounds],
        "index_again_s": [each.indexed_again.seconds for each in rounds],
        "bare_encoder_s": [each.bare_encoder_s for each in rounds],
        "bare_index_s": [each.bare_index_s for each in rounds],
        "index_stages_s": middle.indexed.output.get("seconds", {}),
        "import_peak_mb": max(each.imported.peak_rss_mb for each in rounds),
        "index_peak_mb": max(each.indexed.peak_rss_mb for each in rounds),
        "ratio_spread": {"indexing_over_bare": [ratio.low, ratio.high]},
    }


def _table(corpus: _Corpus, each: _Round, ratio: PairedRatio) -> BenchTable:
    count = len(corpus.texts)

    def row(name: str, seconds: float, note: str = "") -> list[str]:
        return [name, f"{seconds:.2f}", f"{count / seconds:,.0f}", note]

    stages = each.indexed.output.get("seconds", {})
    told = ", ".join(f"{name} {value:.1f}" for name, value in stages.items() if value >= 0.05)
    return BenchTable(
        f"{count:,} items, {corpus.model.reference}; seconds are those of whole commands",
        ["step", "s", "items/s", "notes"],
        [
            row("import", each.imported.seconds, f"peak {each.imported.peak_rss_mb:.0f} MB"),
            row("import again, nothing new", each.imported_again.seconds),
            row("index", each.indexed.seconds, f"peak {each.indexed.peak_rss_mb:.0f} MB; {told}"),
            row("index again, nothing new", each.indexed_again.seconds),
            row("bare encoder", each.bare_encoder_s),
            row("bare index build", each.bare_index_s),
            ["index over bare encoder + build", str(ratio), "", "1.15 is the aim"],
        ],
    )
