"""Bringing an index up to date: build a version unless there is one, promote it, delete old ones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoders.card import EncoderCard, read_card
from indexer.encoding import HERE
from indexer.progress import OnProgress, ignore_progress
from indexer.runners import Runner
from indexer.sampling import queries_digest, validation_queries
from indexer.version_build import VersionBuild, build_version, not_served
from indexer.versions import find_equal, prune
from retrieval.collections import require_collection
from retrieval.embeddings import embedded_keys
from retrieval.errors import CorruptArtifact, TwinspireError
from retrieval.index_build import redis_module
from retrieval.index_types import IndexParameters
from retrieval.jobs import start_job
from retrieval.publishing import IndexVersion, live_version
from retrieval.publishing import promote as promote_version
from retrieval.registry import ModelRow, find_model
from retrieval.segments import drop_superseded_segments, pending_segments
from retrieval.windows import window_media
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
    promoted: bool  # whether this version is the live one now
    not_served: int  # items whose modality the encoder does not take
    set_aside: int  # segments that could not be read, in this run
    pruned: tuple[str, ...]  # old versions that were deleted
    seconds: Mapping[str, float]  # by stage; "encoder" and "faiss" are not ours


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
    parameters = dict(overrides or {}) | {"backend": backend}
    build = _prepare(ws, collection, encoder_name, parameters, recall_target, make_runner, on_progress)
    seen_live = live_version(ws, collection) or ""
    spec = {"model": build.model.reference, "parameters": parameters, "recall_target": recall_target}
    job = start_job(ws, JOB_KIND, collection, spec)
    try:
        build.window_s = window_media(ws, collection, windows_s)
        equal = _unchanged(build)
        version, manifest, encoded = (
            (equal.version, equal.manifest, 0) if equal is not None else build_version(build)
        )
        if promote:
            _make_live(build, version, seen_live)
        pruned = prune(ws, collection, keep)
        if promote:
            drop_superseded_segments(ws, collection)
    except TwinspireError:
        job.fail()
        raise
    job.finish({"encoded": encoded, "count": manifest.count})
    return IndexReport(
        version=version,
        model=manifest.model,
        fingerprint=manifest.fingerprint,
        nothing_new=equal is not None,
        encoded=encoded,
        count=manifest.count,
        parameters=manifest.parameters,
        fusion=manifest.fusion,
        promoted=live_version(ws, collection) == version,
        pruned=tuple(pruned),
        not_served=not_served(build),
        set_aside=build.set_aside,
        seconds=build.seconds,
    )


def _prepare(
    ws: Workspace,
    collection: str,
    encoder_name: str,
    parameters: Mapping[str, Any],
    recall_target: float,
    make_runner: Callable[[Path], Runner],
    on_progress: OnProgress,
) -> VersionBuild:
    """Check what was asked for, before any work."""
    require_collection(ws, collection)
    model = find_model(ws, encoder_name)
    build = VersionBuild(
        ws=ws,
        collection=collection,
        model=model,
        card=_card(model),
        overrides=parameters,
        recall_target=recall_target,
        tell=on_progress,
        window_s=0.0,  # told when the job begins
        make_runner=make_runner,
    )
    build.parameters(0)  # a wrong one is refused
    if parameters["backend"] == "redis":  # what servers without a database wrote belongs to it
        redis_module("journal").drain_journal(ws, collection)
    return build


def _make_live(build: VersionBuild, version: str, seen_live: str) -> None:
    """Promote a version, unless another than that which the job saw is live."""
    with build.stage("publish"):
        # Another job may have promoted the very version meanwhile: that is no quarrel.
        done = live_version(build.ws, build.collection) == version
        promote_version(build.ws, build.collection, version, version if done else seen_live)


def _card(model: ModelRow) -> EncoderCard:
    card = read_card(model.folder)
    if card.fingerprint != model.fingerprint:
        raise CorruptArtifact(f"model {model.reference} is not the one that was registered")
    return card


def _unchanged(build: VersionBuild) -> IndexVersion | None:
    """Find the version that would come of it, if there is one, without opening the encoder."""
    ws, collection, fingerprint = build.ws, build.collection, build.card.fingerprint
    with build.stage("check"):
        if pending_segments(ws, collection, fingerprint, limit=1, modalities=build.modalities):
            return None
        keys = embedded_keys(ws, collection, fingerprint, window_s=build.window_s)
        queries = queries_digest(validation_queries(ws, collection))
        parameters = build.parameters(len(keys))
        return find_equal(ws, collection, fingerprint, keys, parameters, queries, build.window_s)
