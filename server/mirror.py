"""The workspace of a server that has no database: a scratch folder that follows what Redis publishes.

Only collections, versions and aliases are copied into it, with the small files of each version. Items and
vectors stay in Redis. Encoders come from a folder of models, as in any workspace.
"""

import logging
import shutil
import tempfile
import threading
from pathlib import Path

from encoders.card import CARD_FILE, read_card
from retrieval.collections import collection_names, create_collection, delete_collection
from retrieval.durable import write_durably
from retrieval.errors import CorruptArtifact, NewerFormat, TwinspireError
from retrieval.manifest import MANIFEST_FILE, Manifest
from retrieval.redis_catalog import RedisCatalog
from retrieval.redis_server import redis_server
from retrieval.registry import register_model
from retrieval.workspace import Workspace, now
from server.logs import log


class RedisMirror(Workspace):
    """A workspace whose catalog is Redis's. Close it to remove its folder."""

    mirrors_redis = True

    def __init__(self, models: Path, *, interval_s: float = 0.25) -> None:
        """Copy what Redis publishes, and go on following it.

        Args:
            models: the folder of models, `NAME/VERSION/`; it may be empty.
            interval_s: between two looks.

        Raises:
            BackendUnavailable: if Redis does not answer.
        """
        self._scratch = tempfile.TemporaryDirectory(prefix="twinspire-mirror-")
        self._models = models
        super().__init__(Path(self._scratch.name) / "mirror", create=True)
        self._catalog = RedisCatalog(redis_server())
        self._seen: dict[str, object] = {}
        self._interval_s = interval_s
        self._stop = threading.Event()
        self.follow()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        self._thread.start()

    @property
    def models(self) -> Path:
        """The folder of models."""
        return self._models

    def _run(self) -> None:
        was_well = True
        while not self._stop.wait(self._interval_s):
            try:
                self.follow()
                was_well = True
            except TwinspireError as error:
                if was_well:
                    log("following Redis failed", level=logging.WARNING, reason=error.reason)
                was_well = False

    def follow(self) -> None:
        """Copy what is new, and delete what was deleted.

        What is merely gone from Redis stays: whoever searches it is told that it is lost.

        Raises:
            BackendUnavailable: if Redis does not answer.
        """
        known = set(collection_names(self))
        for collection in known.intersection(self._catalog.deleted()):
            delete_collection(self, collection)
            shutil.rmtree(self.indexes / collection, ignore_errors=True)
            self._seen.pop(collection, None)
        for collection in self._catalog.collections():
            versions, alias = self._catalog.versions(collection), self._catalog.alias(collection)
            state = (tuple(versions), alias)
            if self._seen.get(collection) == state:
                continue
            if collection not in known:
                create_collection(self, collection)
            for version in versions:
                if not (self.indexes / collection / version / MANIFEST_FILE).exists():
                    self._copy(collection, version)
            if alias.version:
                self._point(collection, alias.version, alias.previous)
            self._drop(collection, [*versions, alias.version])
            self._seen[collection] = state

    def _copy(self, collection: str, version: str) -> None:
        files = self._catalog.files(collection, version)
        manifest = Manifest.from_json(files[MANIFEST_FILE].decode())
        folder = self.indexes / collection / version
        folder.mkdir(parents=True, exist_ok=True)
        for name in sorted(files, key=lambda name: name == MANIFEST_FILE):  # the manifest last
            write_durably(folder / Path(name).name, files[name])
        self._register_models()
        with self.atomic() as db:
            db.execute(
                "INSERT OR IGNORE INTO indexes"
                "(collection, version, backend, fingerprint, state, manifest, created_at)"
                " VALUES (?, ?, 'redis', ?, 'ready', ?, ?)",
                (collection, version, manifest.fingerprint, manifest.to_json(), manifest.created_at),
            )

    def _point(self, collection: str, version: str, previous: str) -> None:
        with self.atomic() as db:
            db.execute(
                "INSERT INTO aliases(collection, version, previous, changed_at) VALUES (?, ?, ?, ?)"
                " ON CONFLICT(collection) DO UPDATE SET version = excluded.version,"
                " previous = excluded.previous, changed_at = excluded.changed_at",
                (collection, version, previous, now()),
            )

    def _drop(self, collection: str, kept: list[str]) -> None:
        rows = self.fetch("SELECT version FROM indexes WHERE collection = ?", (collection,))
        for version in {version for (version,) in rows} - set(kept):
            with self.atomic() as db:
                db.execute("DELETE FROM indexes WHERE collection = ? AND version = ?", (collection, version))
            shutil.rmtree(self.indexes / collection / version, ignore_errors=True)

    def _register_models(self) -> None:
        for file in sorted(self._models.glob(f"*/*/{CARD_FILE}")):
            try:
                card = read_card(file.parent)
                register_model(self, card.name, card.version, card.kind, card.fingerprint, {})
            except (CorruptArtifact, NewerFormat) as error:
                log("model refused", level=logging.WARNING, why=str(error))

    def close(self) -> None:
        """Stop following, and remove the folder."""
        self._stop.set()
        self._thread.join()
        super().close()
        self._scratch.cleanup()
