"""`bench encode`: what `index` encodes a second, beside the bare model on what is decoded already."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from encoders.encoder import Encoder, MediaEncoder
from encoders.loading import load_encoder
from encoders.media.decoding import Decoder
from encoders.media.preparing import prepare
from encoders.media.specs import AudioSpec
from evaluation.bench.processes import CommandResult, run_command
from evaluation.bench.result import BenchResult, BenchTable, PairedRatio, machine_line, paired_ratio
from evaluation.bench.workspaces import copy_model
from retrieval.collections import create_collection
from retrieval.content import Content, Modality
from retrieval.errors import InvalidInput
from retrieval.items import Item, list_items, upsert_items
from retrieval.media_roots import add_media_root, media_roots
from retrieval.registry import ModelRow, find_model
from retrieval.workspace import Workspace

OnStep: TypeAlias = Callable[[str], None]

AIM = 0.9  # of the bare model's throughput
_READ = 2000
_WARM_UP = 8  # contents, before the clock runs


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeBenchOptions:
    """What to measure."""

    encoder: str  # name or name@version
    count: int = 500  # items, at most: they are held decoded in memory
    rounds: int = 5  # of the paired measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    """One index from nothing, one with nothing new, and the bare model before and after."""

    bare_s: tuple[float, float]
    indexed: CommandResult
    indexed_again: CommandResult

    @property
    def index_s(self) -> float:
        """Seconds of reading, decoding, encoding and storing; not of starting and of building the index."""
        return float(self.indexed.output["seconds"]["encode"])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """What is encoded."""

    items: Sequence[Item]
    contents: Sequence[Content]  # of the items, decoded
    roots: Mapping[str, Path]
    model: ModelRow
    decode_s: float
    sound_s: float  # seconds of sound in it


def bench_encode(
    root: Path, collection: str, options: EncodeBenchOptions, on_step: OnStep | None = None
) -> BenchResult:
    """Index some of a collection's items in workspaces made for it, and encode them with nothing around it.

    Args:
        root: the workspace that the items and the encoder come from; it is not changed.
        collection: whose items.
        options: what to measure.
        on_step: called with what begins now, for people.

    Raises:
        CollectionNotFound: if there is no such collection.
        ModelNotFound: if there is no such encoder.
        InvalidInput: if the collection holds nothing that the encoder takes.
        InternalError: if a command fails.
    """
    on_step = on_step or (lambda step: None)
    machine = machine_line()
    with Workspace(root) as ws:
        model = find_model(ws, options.encoder)
        encoder = load_encoder(model.folder)
        on_step("decode what is to be encoded")
        sample = _sample(ws, collection, encoder, model, options.count)
    encoder.encode_items(sample.contents[:_WARM_UP])
    rounds = []
    for number in range(options.rounds):
        on_step(f"round {number + 1} of {options.rounds}: {len(sample.items):,} items")
        rounds.append(_round(sample, encoder))
    return _result(machine, sample, rounds)


def _sample(ws: Workspace, collection: str, encoder: Encoder, model: ModelRow, count: int) -> _Sample:
    items: list[Item] = []
    after = 0
    while len(items) < count and (stored := list_items(ws, collection, after_rowid=after, limit=_READ)):
        items += [
            Item(each.id, Modality(each.modality), each.text, each.uri)
            for each in stored
            if each.modality in encoder.card.modalities
        ]
        after = stored[-1].rowid
    contents = [Content(item.modality, text=item.text, uri=item.uri) for item in items[:count]]
    roots = media_roots(ws)
    started = time.perf_counter()
    outcomes = _decoded(encoder, contents, roots)
    decode_s = time.perf_counter() - started
    good = [
        (item, content)
        for item, content in zip(items, outcomes, strict=False)
        if isinstance(content, Content)
    ]
    if not good:
        raise InvalidInput(
            f"collection {collection!r} holds nothing that {model.reference} takes: "
            + " and ".join(encoder.card.modalities)
        )
    return _Sample(
        items=[item for item, _ in good],
        contents=[content for _, content in good],
        roots=roots,
        model=model,
        decode_s=decode_s,
        sound_s=_seconds(encoder, [content for _, content in good]),
    )


def _decoded(encoder: Encoder, contents: Sequence[Content], roots: Mapping[str, Path]) -> Sequence[Any]:
    if not isinstance(encoder, MediaEncoder):
        return contents
    with Decoder() as decoder:
        return prepare(contents, encoder.decode_specs, decoder, roots)


def _seconds(encoder: Encoder, contents: Sequence[Content]) -> float:
    specs = encoder.decode_specs if isinstance(encoder, MediaEncoder) else {}
    spec = specs.get(Modality.AUDIO)
    if not isinstance(spec, AudioSpec):
        return 0.0
    samples = sum(
        len(content.decoded)
        for content in contents
        if content.modality is Modality.AUDIO and content.decoded is not None
    )
    return samples / spec.sample_rate


def _round(sample: _Sample, encoder: Encoder) -> _Round:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "workspace"
        with Workspace(root, create=True) as ws:
            copy_model(sample.model, ws)
            create_collection(ws, "bench")
            for name, place in sample.roots.items():
                add_media_root(ws, name, place)
            upsert_items(ws, "bench", sample.items)
        before = _bare(sample, encoder)
        index = ("index", "bench", "--encoder", sample.model.reference, "--backend", "exact")
        indexed, indexed_again = (run_command(root, *index) for _ in range(2))
        after = _bare(sample, encoder)
    return _Round(bare_s=(before, after), indexed=indexed, indexed_again=indexed_again)


def _bare(sample: _Sample, encoder: Encoder) -> float:
    """Return the seconds that the model takes for what is decoded, and in memory, already."""
    started = time.perf_counter()
    encoder.encode_items(sample.contents)
    return time.perf_counter() - started


def _result(machine: str, sample: _Sample, rounds: Sequence[_Round]) -> BenchResult:
    count = len(sample.items)
    bare = [sum(each.bare_s) / 2 for each in rounds]
    ratio = paired_ratio(bare, [each.index_s for each in rounds])
    middle = sorted(rounds, key=lambda each: each.index_s)[len(rounds) // 2]
    bare_s = sorted(bare)[len(bare) // 2]
    figures: dict[str, Any] = {
        "n": count,
        "model": sample.model.reference,
        "bare_s": bare,
        "index_encode_s": [each.index_s for each in rounds],
        "index_again_s": [each.indexed_again.seconds for each in rounds],
        "encoded_again": sum(int(each.indexed_again.output["encoded"]) for each in rounds),
        "decode_s": sample.decode_s,
        "items_per_s": count / middle.index_s,
        "index_peak_mb": max(each.indexed.peak_rss_mb for each in rounds),
        "ratio_spread": {"index_over_bare_throughput": [ratio.low, ratio.high]},
    }
    if sample.sound_s:
        figures["x_realtime"] = sample.sound_s / middle.index_s
    return BenchResult(
        name="encode",
        machine=machine,
        tables=[_table(sample, middle, bare_s, ratio)],
        figures=figures,
        ratios={"index_over_bare_throughput": ratio.median},
    )


def _table(sample: _Sample, middle: _Round, bare_s: float, ratio: PairedRatio) -> BenchTable:
    count = len(sample.items)

    def row(name: str, seconds: float, note: str = "") -> list[str]:
        realtime = f"{sample.sound_s / seconds:,.0f}" if sample.sound_s else ""
        return [name, f"{seconds:.2f}", f"{count / seconds:,.1f}", realtime, note]

    peak = f"peak {middle.indexed.peak_rss_mb:.0f} MB"
    again, encoded = middle.indexed_again.seconds, middle.indexed_again.output["encoded"]
    return BenchTable(
        f"{count:,} items, {sample.model.reference}",
        ["step", "s", "items/s", "x realtime", "notes"],
        [
            row("bare model, decoded before", bare_s),
            row("index: read, decode, encode, store", middle.index_s, peak),
            row("decoding alone", sample.decode_s, "the decoders' start included"),
            ["index again, whole command", f"{again:.2f}", "", "", f"{encoded} encoded"],
            ["throughput over bare model", str(ratio), "", "", f"{AIM} is the aim"],
        ],
    )
