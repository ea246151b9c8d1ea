"""Making an index version of a collection: encode, build, measure, publish, promote."""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from encoders.card import EncoderCard, read_card
from encoders.encoder import Encoder
from encoders.loading import load_encoder
from indexer.encoding import HERE, encode_pending
from indexer.fusing import Words, fuse, words_ahead
from indexer.progress import OnProgress, Progress, ignore_progress
from indexer.runners import Runner
from indexer.sampling import queries_digest, sample_queries, validation_queries
from indexer.threads import ahead
from indexer.versions import find_equal, prune
from retrieval import publishing
from retrieval.collections import require_collection
from retrieval.content import Modality
from retrieval.embeddings import embedded_keys, read_embeddings
from retrieval.errors import CorruptArtifact, ModalityNotServed, TwinspireError, VersionMoved
from retrieval.failpoints import failpoint
from retrieval.index import Keys, Vectors
from retrieval.index_build import build_index, redis_module
from retrieval.index_types import IndexParameters, choose_parameters
from retrieval.items import sequence
from retrieval.jobs import start_job
from retrieval.judgements import JudgedQuery
from retrieval.manifest import Manifest
from retrieval.publishing import live_version
from retrieval.registry import ModelRow, find_model
from retrieval.segments import drop_superseded_segments, pending_segments, split_long_items
from retrieval.windows import wanted_window_s, window_media
from retrieval.workspace import Workspace

JOB_KIND = "index"
KEPT_VERSIONS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexReport:
    """What came of an indexing."""

    version: str
    model: str  # name@version of the encoder
    fingerprint: str
    nothing_new: bool  # an equal version was there already; nothing was built
    encoded: int  # segments that got a vector
    count: int  # vectors in the index
    parameters: IndexParameters  # with the effort and the recall that were measured
    fusion: Mapping[str, Any]
    promoted: bool = False  # whether this version is the live one now
    not_served: int = 0  # items whose modality the encoder does not take
    set_aside: int = 0  # segments that could not be read, in this run
    pruned: tuple[str, ...] = ()  # old versions that were deleted
    seconds: Mapping[str, float] = field(default_factory=dict)  # by stage; "encoder" and "faiss" are not ours


@dataclass(slots=True, kw_only=True)
class _Build:
    """One run of the job."""

    ws: Workspace
    collection: str
    model: ModelRow
    card: EncoderCard
    overrides: Mapping[str, Any]
    recall_target: float
    tell: OnProgress
    window_s: float  # the length of the windows of sounds and videos; 0 = none
    seen_live: str  # the live version when the job began; "" = none
    make_runner: Callable[[Path], Runner]
    set_aside: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Take the time of a stage, and show that it began."""
        self.tell(Progress(name, 0, 0))
        started = time.perf_counter()
        yield
        self.add_seconds(name, time.perf_counter() - started)

    def add_seconds(self, name: str, seconds: float) -> None:
        """Add to the time of a stage."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def parameters(self, count: int) -> IndexParameters:
        """Choose the parameters for so many vectors."""
        return choose_parameters(count, self.card.dims, self.recall_target, self.overrides)

    @property
    def modalities(self) -> list[Modality]:
        """What the encoder takes."""
        return [Modality(modality) for modality in self.card.modalities]


def index_collection(
    ws: Workspace,
    collection: str,
    encoder_name: str,
    *,
    backend: str = "faiss",
    overrides: Mapping[str, Any] | None = None,
    recall_target: float = 0.95,
    windows_s: float | None = None,
    promote: bool = True,
    keep: int = KEPT_VERSIONS,
    make_runner: Callable[[Path], Runner] = lambda folder: HERE,
    on_progress: OnProgress = ignore_progress,
) -> IndexReport:
    """Bring a collection's index up to date with its items and an encoder.

    Only segments without a vector are encoded. If a sound version already holds exactly these segments
    under this encoder with these parameters, nothing is built. Interrupted at any point, it leaves the
    live version as it was, and goes on from the last batch of vectors when it is called again.

    Args:
        ws: the workspace.
        collection: its name.
        encoder_name: `name@version`, or `name` for its newest version.
        backend: "faiss", "exact" or "redis".
        overrides: index parameters by name; the others are chosen by size.
        recall_target: recall@10 of exact search that the index is tuned to.
        windows_s: cut long sounds and videos into windows of so many seconds, beside the whole; 0 takes
            the windows away, None means what was asked for last.
        promote: make the version live; else it is only published.
        keep: this many of the newest versions stay.
        make_runner: given the encoder's folder, makes what runs it.
        on_progress: told of the stages "check", "split", "load", "extract", "encode", "build", "fuse",
            "publish".

    Raises:
        CollectionNotFound: if there is no such collection.
        ModelNotFound: if there is no such encoder.
        CorruptArtifact: if the encoder's files are not what was registered.
        InvalidInput: if a parameter is unknown or out of range.
        EncoderFault: if the encoder makes vectors that cannot be used; nothing is published.
        ModalityNotServed: if the encoder takes none of the items.
        VersionMoved: if another version became live meanwhile, and this one stays published; or if windows
            of another length were asked for meanwhile, and nothing is published.
    """
    require_collection(ws, collection)
    model = find_model(ws, encoder_name)
    parameters = dict(overrides or {}) | {"backend": backend}
    build = _Build(
        ws=ws,
        collection=collection,
        model=model,
        card=_card(model),
        overrides=parameters,
        recall_target=recall_target,
        tell=on_progress,
        window_s=0.0,  # told when the job begins
        seen_live=live_version(ws, collection) or "",
        make_runner=make_runner,
    )
    build.parameters(0)  # a wrong one is refused before any work
    if backend == "redis":  # what servers without a database wrote belongs to it
        redis_module("journal").drain_journal(ws, collection)
    spec = {"model": model.reference, "parameters": parameters, "recall_target": recall_target}
    job = start_job(ws, JOB_KIND, collection, spec)
    try:
        build.window_s = window_media(ws, collection, windows_s)
        report = _unchanged(build) or _build(build)
        if promote:
            with build.stage("publish"):
                # Another job may have promoted the very version meanwhile: that is no quarrel.
                done = live_version(ws, collection) == report.version
                publishing.promote(
                    ws, collection, report.version, report.version if done else build.seen_live
                )
        pruned = prune(ws, collection, keep)
        if promote:
            drop_superseded_segments(ws, collection)
    except TwinspireError:
        job.fail()
        raise
    job.finish({"encoded": report.encoded, "count": report.count})
    return replace(
        report,
        promoted=live_version(ws, collection) == report.version,
        pruned=tuple(pruned),
        not_served=_not_served(build),
        set_aside=build.set_aside,
        seconds=build.seconds,
    )


def _card(model: ModelRow) -> EncoderCard:
    card = read_card(model.folder)
    if card.fingerprint != model.fingerprint:
        raise CorruptArtifact(f"model {model.reference} is not the one that was registered")
    return card


def _unchanged(build: _Build) -> IndexReport | None:
    """Find out whether there is nothing to do, without opening the encoder."""
    ws, collection, fingerprint = build.ws, build.collection, build.card.fingerprint
    with build.stage("check"):
        if pending_segments(ws, collection, fingerprint, limit=1, modalities=build.modalities):
            return None
        keys = embedded_keys(ws, collection, fingerprint, window_s=build.window_s)
        queries = queries_digest(validation_queries(ws, collection))
        parameters = build.parameters(len(keys))
        equal = find_equal(ws, collection, fingerprint, keys, parameters, queries, build.window_s)
    if equal is None:
        return None
    return IndexReport(
        version=equal.version,
        model=equal.manifest.model,
        fingerprint=fingerprint,
        nothing_new=True,
        encoded=0,
        count=equal.manifest.count,
        parameters=equal.manifest.parameters,
        fusion=equal.manifest.fusion,
    )


def _build(build: _Build) -> IndexReport:
    ws, collection = build.ws, build.collection
    queries = validation_queries(ws, collection) if Modality.TEXT in build.modalities else []
    with words_ahead(ws, collection, queries) as words:
        encoder, up_to_key, encoded = _encode(build)
        staged = publishing.new_version_folder(ws, collection)
        try:
            manifest = _build_into(staged, build, encoder, up_to_key, queries, words)
            _require_same_windows(build)
            with build.stage("publish"):
                version = publishing.publish(ws, collection, staged, manifest)
        finally:
            shutil.rmtree(staged, ignore_errors=True)  # it was renamed if all went well
    return IndexReport(
        version=version,
        model=manifest.model,
        fingerprint=manifest.fingerprint,
        nothing_new=False,
        encoded=encoded,
        count=manifest.count,
        parameters=manifest.parameters,
        fusion=manifest.fusion,
    )


def _encode(build: _Build) -> tuple[Encoder, int, int]:
    """Give every segment a vector.

    Returns:
        The encoder, the highest key that was considered, and the number of new vectors.
    """
    ws, collection = build.ws, build.collection
    if build.card.max_words:
        with build.stage("split"):
            split_long_items(ws, collection, build.card.max_words)
    with build.stage("load"):
        encoder = load_encoder(build.model.folder)
    with build.stage("encode"):
        # What comes later is searched beside the index: were it in the index, a slower one with a lower key
        # that has no vector yet would be neither here nor there.
        up_to_key = sequence(ws, collection)
        encoded = encode_pending(
            ws,
            collection,
            encoder,
            up_to_key=up_to_key,
            on_progress=build.tell,
            runner=build.make_runner(build.model.folder),
        )
    build.add_seconds("encoder", encoded.encoder_s)
    build.set_aside = encoded.set_aside
    return encoder, up_to_key, encoded.segments


def _build_into(
    staged: Path,
    build: _Build,
    encoder: Encoder,
    up_to_key: int,
    queries: Sequence[JudgedQuery],
    words: Future[Words] | None,
) -> Manifest:
    """Build an index into a folder, measure it, and write down what it is."""
    ws, collection, card = build.ws, build.collection, build.card
    keys = embedded_keys(ws, collection, card.fingerprint, window_s=build.window_s)
    total = int(np.searchsorted(keys, up_to_key, side="right"))
    if not total and _not_served(build):
        raise ModalityNotServed(f"the encoder takes {', '.join(card.modalities)}: there is no such item")
    with build.stage("build"):
        sample = sample_queries(ws, collection, encoder, queries)
        with ahead(_vectors(build, up_to_key)) as batches:
            built = build_index(
                staged,
                batches,
                card.dims,
                build.parameters(total),
                sample,
                lambda done: build.tell(Progress("build", done, total)),
            )
    build.add_seconds("faiss", built.build_s)
    build.add_seconds("tune", built.tune_s)
    failpoint("index-built")
    manifest = Manifest(
        collection=collection,
        fingerprint=card.fingerprint,
        model=build.model.reference,
        dims=card.dims,
        count=built.count,
        built_key=up_to_key,
        parameters=built.parameters,
        window_s=build.window_s,
        statistics={"queries": queries_digest(queries), "build_s": round(built.build_s, 3)},
    )
    with build.stage("fuse"):
        return replace(manifest, fusion=fuse(ws, staged, manifest, encoder, queries, words))


def _require_same_windows(build: _Build) -> None:
    """Refuse to publish an index that lacks its windows, since another job or a rollback wanted others."""
    wanted = wanted_window_s(build.ws, build.collection)
    if wanted != build.window_s:
        raise VersionMoved(
            f"windows: this index was to have {build.window_s:g} s, meanwhile {wanted:g} s were asked for:"
            " index again, one length at a time"
        )


def _vectors(build: _Build, up_to_key: int) -> Iterator[tuple[Keys, Vectors]]:
    """Read the vectors up to a key."""
    fingerprint = build.card.fingerprint
    for keys, vectors in read_embeddings(build.ws, build.collection, fingerprint, window_s=build.window_s):
        wanted = int(np.searchsorted(keys, up_to_key, side="right"))
        yield keys[:wanted], vectors[:wanted]
        if wanted < len(keys):
            return


def _not_served(build: _Build) -> int:
    """Count the items that the encoder does not take."""
    rows = build.ws.fetch(
        "SELECT modality, count(*) FROM items WHERE collection = ? GROUP BY modality", (build.collection,)
    )
    return sum(count for modality, count in rows if modality not in build.card.modalities)
