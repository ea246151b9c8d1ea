"""How each cost grows with the number of items: import, index, start, memory, search, upserts."""

import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from encoders.loading import load_encoder
from evaluation.bench.load import Load
from evaluation.bench.processes import CommandResult, ServerProcess, run_command
from evaluation.bench.result import BenchTable
from evaluation.bench.workspaces import copy_model
from evaluation.index_quality import ann_recall
from evaluation.measurement import encode_queries
from retrieval.collections import create_collection
from retrieval.index import Vectors
from retrieval.judgements import JudgedQuery, put_judged_queries
from retrieval.opening import open_live
from retrieval.registry import ModelRow
from retrieval.workspace import Workspace

_SENTENCE_END = re.compile(r"(?<=[.!?]) +")
_LONGEST_WINDOW = 12  # sentences
_QUERIES = 1000
_UPSERTS = 1000
_SPELL_S = 3.0
GROWN = "grown"


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthPoint:
    """All costs at one size."""

    n: int
    dims: int
    kind: str
    import_s: float
    import_peak_mb: float
    index_s: float
    index_peak_mb: float
    encode_s: float
    build_s: float
    recall: float  # @10 against exact search
    start_s: float  # of the server, until it is ready
    rss_mb: float
    private_mb: float
    unary_qps: float
    batch_qps: float
    upsert_s: float  # 1,000 items, until acknowledged
    found_s: float  # and until the last is found

    def to_json(self) -> dict[str, Any]:
        """Give the figures."""
        return asdict(self)


def sentence_windows(texts: Sequence[str]) -> Iterator[str]:
    """Make many texts out of some: every sentence, every two neighbours, and so on; then pairs with a gap.

    >>> list(sentence_windows(["One. Two. Three."]))
    ['One.', 'Two.', 'Three.', 'One. Two.', 'Two. Three.', 'One. Two. Three.', 'One. Three.']
    """
    split = [_SENTENCE_END.split(text) for text in texts]
    for width in range(1, _LONGEST_WINDOW + 1):
        for sentences in split:
            for start in range(len(sentences) - width + 1):
                yield " ".join(sentences[start : start + width])
    for gap in range(2, _LONGEST_WINDOW):
        for sentences in split:
            yield from (" ".join(pair) for pair in zip(sentences, sentences[gap:], strict=False))


def write_jsonl(file: Path, texts: Iterable[tuple[str, str]]) -> None:
    """Write items, each an id and a text, as `import jsonl` reads them."""
    with file.open("w", encoding="utf-8") as out:
        for id, text in texts:
            out.write(json.dumps({"id": id, "text": text}) + "\n")


def measure_growth(model: ModelRow, texts: Sequence[str], queries: Sequence[str], size: int) -> GrowthPoint:
    """Import and index `size` real texts, serve them, load the server, and upsert through it.

    Args:
        model: the encoder.
        texts: what the items are made of.
        queries: what is asked.
        size: how many items; fewer if the texts do not give as many.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "workspace"
        asked = [JudgedQuery(f"q{number}", text, "validation") for number, text in enumerate(queries)]
        imported, indexed = make_grown(root, model, texts, asked[:_QUERIES], size)
        return _serve(root, model, asked[:_QUERIES], imported, indexed)


def make_grown(
    root: Path, model: ModelRow, texts: Sequence[str], queries: Sequence[JudgedQuery], size: int
) -> tuple[CommandResult, CommandResult]:
    """Make a workspace with the collection `GROWN` of so many real texts, all different, and index it.

    Args:
        root: a folder that is not there yet.
        model: the encoder.
        texts: what the items are made of.
        queries: are put beside them.
        size: how many items; fewer if the texts do not give as many.

    Returns:
        What importing cost, and what indexing cost.
    """
    source = root.with_name(f"{root.name}.jsonl")
    windows = islice(_different(sentence_windows(texts)), size)
    write_jsonl(source, ((f"w{number}", text) for number, text in enumerate(windows)))
    with Workspace(root, create=True) as ws:
        copy_model(model, ws)
        create_collection(ws, GROWN)
        put_judged_queries(ws, GROWN, queries)
    imported = run_command(root, "import", "jsonl", str(source), "--collection", GROWN)
    source.unlink()
    return imported, run_command(root, "index", GROWN, "--encoder", model.reference)


def _different(texts: Iterable[str]) -> Iterator[str]:
    """Leave out what was there before."""
    seen: set[int] = set()  # of a million texts the hashes take a tenth of their room
    for text in texts:
        digest = hash(text)
        if digest not in seen:
            seen.add(digest)
            yield text


def _serve(
    root: Path,
    model: ModelRow,
    queries: Sequence[JudgedQuery],
    imported: CommandResult,
    indexed: CommandResult,
) -> GrowthPoint:
    vectors = encode_queries(load_encoder(model.folder), queries)
    vectors_file = root.parent / "vectors.npy"
    np.save(vectors_file, vectors)
    order = {"collection": GROWN, "vectors": str(vectors_file)}
    with ServerProcess(root) as server, Load(server) as load:
        load.prepare("unary", **order)
        load.prepare("batch", **order, batch=64)
        load.run("unary", seconds=1.0, in_flight=16)
        unary = load.run("unary", seconds=_SPELL_S, in_flight=16)
        batch = load.run("batch", seconds=_SPELL_S, in_flight=4)
        memory = server.rss_mb(), server.private_mb()
        upserted = load.upsert(GROWN, _new_items(queries))
        start_s = server.ready_s
    count, dims, kind, recall = _index_figures(root, vectors)
    stages = indexed.output.get("seconds", {})
    return GrowthPoint(
        n=count,
        dims=dims,
        kind=kind,
        import_s=imported.seconds,
        import_peak_mb=imported.peak_rss_mb,
        index_s=indexed.seconds,
        index_peak_mb=indexed.peak_rss_mb,
        encode_s=float(stages.get("encode", 0.0)),
        build_s=float(stages.get("faiss", 0.0)),
        recall=recall,
        start_s=start_s,
        rss_mb=memory[0],
        private_mb=memory[1],
        unary_qps=unary.queries_per_second,
        batch_qps=batch.queries_per_second,
        upsert_s=float(upserted["stored_s"]),
        found_s=float(upserted["found_s"]),
    )


def _new_items(queries: Sequence[JudgedQuery]) -> list[dict[str, str]]:
    return [
        {"id": f"new{number}", "text": f"{queries[number % len(queries)].text} (note {number})"}
        for number in range(_UPSERTS)
    ]


def _index_figures(root: Path, vectors: Vectors) -> tuple[int, int, str, float]:
    with Workspace(root) as ws:
        opened = open_live(ws, GROWN)
        assert opened is not None
        manifest = opened.manifest
        figures = manifest.count, manifest.dims, manifest.parameters.kind, ann_recall(opened, vectors)
        opened.index.close()
    return figures


def growth_table(points: Sequence[GrowthPoint]) -> BenchTable:
    """Lay the points out, a column a size."""
    rows: list[tuple[str, list[str]]] = [
        ("import, items/s", [f"{point.n / point.import_s:,.0f}" for point in points]),
        ("import, peak MB", [f"{point.import_peak_mb:,.0f}" for point in points]),
        ("index, s", [f"{point.index_s:,.1f}" for point in points]),
        ("  of it encoding, s", [f"{point.encode_s:,.1f}" for point in points]),
        ("  of it FAISS, s", [f"{point.build_s:,.1f}" for point in points]),
        ("index, peak MB", [f"{point.index_peak_mb:,.0f}" for point in points]),
        ("index type", [point.kind for point in points]),
        ("recall@10", [f"{point.recall:.3f}" for point in points]),
        ("server ready, s", [f"{point.start_s:.2f}" for point in points]),
        ("resident MB", [f"{point.rss_mb:,.0f}" for point in points]),
        ("  of it private", [f"{point.private_mb:,.0f}" for point in points]),
        ("QPS, one vector a call", [f"{point.unary_qps:,.0f}" for point in points]),
        ("QPS, 64 vectors a call", [f"{point.batch_qps:,.0f}" for point in points]),
        ("1,000 upserts durable, s", [f"{point.upsert_s:.2f}" for point in points]),
        ("  and found, s", [f"{point.found_s:.2f}" for point in points]),
    ]
    columns = ["cost", *(f"{point.n:,} x {point.dims}" for point in points)]
    return BenchTable("Growth", columns, [[name, *values] for name, values in rows])
