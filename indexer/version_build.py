"""Making one index version: encode, build, measure, publish."""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from encoders.card import EncoderCard
from encoders.encoder import Encoder
from encoders.loading import load_encoder
from indexer.encoding import encode_pending
from indexer.fusing import Words, fuse, words_ahead
from indexer.progress import OnProgress, Progress
from indexer.runners import Runner
from indexer.sampling import queries_digest, sample_queries, validation_queries
from indexer.threads import ahead
from retrieval.content import Modality
from retrieval.embeddings import embedded_keys, read_embeddings
from retrieval.errors import ModalityNotServed, VersionMoved
from retrieval.failpoints import failpoint
from retrieval.index import Keys, Vectors
from retrieval.index_build import build_index
from retrieval.index_types import IndexParameters, choose_parameters
from retrieval.items import sequence
from retrieval.judgements import JudgedQuery
from retrieval.manifest import Manifest
from retrieval.publishing import new_version_folder, publish
from retrieval.registry import ModelRow
from retrieval.segments import split_long_items
from retrieval.windows import wanted_window_s
from retrieval.workspace import Workspace


@dataclass(slots=True, kw_only=True)
class VersionBuild:
    """What is to be built, and how far it is."""

    ws: Workspace
    collection: str
    model: ModelRow
    card: EncoderCard
    overrides: Mapping[str, Any]
    recall_target: float
    tell: OnProgress
    window_s: float  # the length of the windows of sounds and videos; 0 = none
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


def build_version(build: VersionBuild) -> tuple[str, Manifest, int]:
    """Encode what has no vector yet, build an index of all, and publish it.

    Returns:
        The version, what it is, and the number of segments that got a vector.

    Raises:
        EncoderFault: if the encoder makes vectors that cannot be used.
        ModalityNotServed: if the encoder takes none of the items.
        VersionMoved: if windows of another length were asked for meanwhile.
    """
    ws, collection = build.ws, build.collection
    queries = validation_queries(ws, collection) if Modality.TEXT in build.modalities else []
    with words_ahead(ws, collection, queries) as words:
        encoder, up_to_key, encoded = _encode(build)
        staged = new_version_folder(ws, collection)
        try:
            manifest = _build_into(staged, build, encoder, up_to_key, queries, words)
            _require_same_windows(build)
            with build.stage("publish"):
                version = publish(ws, collection, staged, manifest)
        finally:
            shutil.rmtree(staged, ignore_errors=True)  # it was renamed if all went well
    return version, manifest, encoded


def _encode(build: VersionBuild) -> tuple[Encoder, int, int]:
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
    build: VersionBuild,
    encoder: Encoder,
    up_to_key: int,
    queries: Sequence[JudgedQuery],
    words: Future[Words] | None,
) -> Manifest:
    """Build an index into a folder, measure it, and write down what it is."""
    ws, collection, card = build.ws, build.collection, build.card
    keys = embedded_keys(ws, collection, card.fingerprint, window_s=build.window_s)
    total = int(np.searchsorted(keys, up_to_key, side="right"))
    if not total and not_served(build):
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


def _require_same_windows(build: VersionBuild) -> None:
    """Refuse to publish an index that lacks its windows, since another job or a rollback wanted others."""
    wanted = wanted_window_s(build.ws, build.collection)
    if wanted != build.window_s:
        raise VersionMoved(
            f"windows: this index was to have {build.window_s:g} s, meanwhile {wanted:g} s were asked for:"
            " index again, one length at a time"
        )


def _vectors(build: VersionBuild, up_to_key: int) -> Iterator[tuple[Keys, Vectors]]:
    """Read the vectors up to a key."""
    fingerprint = build.card.fingerprint
    for keys, vectors in read_embeddings(build.ws, build.collection, fingerprint, window_s=build.window_s):
        wanted = int(np.searchsorted(keys, up_to_key, side="right"))
        yield keys[:wanted], vectors[:wanted]
        if wanted < len(keys):
            return


def not_served(build: VersionBuild) -> int:
    """Count the items that the encoder does not take."""
    rows = build.ws.fetch(
        "SELECT modality, count(*) FROM items WHERE collection = ? GROUP BY modality", (build.collection,)
    )
    return sum(count for modality, count in rows if modality not in build.card.modalities)
