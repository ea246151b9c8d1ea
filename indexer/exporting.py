"""Exporting a workspace: a verified bundle, made while servers and jobs go on reading and writing."""

import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from encoders.aspects import KIND, model_name
from encoders.card import read_card
from indexer.bundle import BundledCollection, BundleManifest, sha256
from indexer.probing import make_probe
from indexer.progress import OnProgress, Progress, ignore_progress
from indexer.staging import seal_database, staged_folder, sync_tree, take_file
from retrieval.collections import collection_names, count, delete_collection, require_collection
from retrieval.durable import sync_folder, write_durably
from retrieval.errors import Conflict, CorruptArtifact
from retrieval.failpoints import failpoint
from retrieval.manifest import FileRecord, read_verified
from retrieval.publishing import READY, IndexVersion, list_versions, live_version
from retrieval.registry import ModelRow, list_models
from retrieval.workspace import BUNDLE_FILE, DATABASE_FILE, Workspace, translate_sqlite_errors

# A version that was live when the database was copied may be pruned before its files are taken.
ATTEMPTS = 3
_BACKUP_PAGES = 4096  # between two signs of progress


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What a bundle holds."""

    files: int
    size: int  # bytes
    linked: int  # bytes of it that take no room of their own: hard links
    collections: Mapping[str, BundledCollection]
    models: list[str]
    left_out: Mapping[str, str]  # what is not in it -> why
    seconds: float


def export_bundle(
    ws: Workspace,
    bundle: Path,
    *,
    collection: str | None = None,
    copy: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> ExportReport:
    """Make a bundle of a workspace: its database as of one moment, its models, what is live.

    Of each collection's versions the live one is taken, and the one to roll back to. Everything is compared
    with its own manifest on the way, and each live version answers a search. The bundle is there whole, or
    not at all.

    Args:
        ws: the workspace; others may read and write it meanwhile.
        bundle: the folder to make.
        collection: only this one, with the models it needs.
        copy: copy files that could be linked.
        on_progress: is told how far it has come.

    Raises:
        Conflict: if there is something already, or another export writes it.
        CollectionNotFound: if there is no such collection.
        CorruptArtifact: if what is live is damaged.
        StorageFull: if the disk is full.
    """
    if collection is not None:
        require_collection(ws, collection)
    if bundle.exists() or bundle.is_symlink():
        raise Conflict(f"there is a {bundle.name!r} already: give the name of a new folder")
    bundle = bundle.absolute()
    started = time.monotonic()
    with staged_folder(bundle.with_name(f".{bundle.name}.part")) as folder:
        for attempt in range(1, ATTEMPTS + 1):
            export = _Export(ws, folder / str(attempt), collection, copy, on_progress)
            try:
                manifest = export.run()
                break
            except _Moved:
                if attempt == ATTEMPTS:
                    raise
        failpoint("export-not-renamed")
        with translate_sqlite_errors():
            (folder / str(attempt)).rename(bundle)
            sync_folder(bundle.parent)
    return ExportReport(
        files=len(manifest.files),
        size=manifest.size,
        linked=export.linked,
        collections=manifest.collections,
        models=sorted(export.models),
        left_out=manifest.left_out,
        seconds=time.monotonic() - started,
    )


class _Moved(Conflict):
    """What was live when the database was copied has been pruned since."""


@dataclass(slots=True)
class _Export:
    """One attempt at a bundle."""

    source: Workspace
    folder: Path
    collection: str | None
    copy: bool
    on_progress: OnProgress
    linked: int = 0
    files: dict[str, FileRecord] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)  # name@version -> fingerprint

    def run(self) -> BundleManifest:
        """Fill the folder."""
        self.folder.mkdir()
        copy_database(self.source, self.folder / DATABASE_FILE, self.on_progress)
        failpoint("export-database-copied")
        with Workspace(self.folder) as taken:
            self._keep_only_the_collection(taken)
            self._take_versions(taken)
            self._take_models(taken)
            failpoint("export-files-taken")
            collections = self._describe(taken)
            _check_database(taken)
        database = self.folder / DATABASE_FILE
        seal_database(database)
        self.files[DATABASE_FILE] = FileRecord(sha256(database), database.stat().st_size)
        manifest = BundleManifest(
            files=dict(sorted(self.files.items())),
            collections=collections,
            left_out=self.left_out,
            software=_software(),
        )
        sync_tree(self.folder)
        write_durably(self.folder / BUNDLE_FILE, manifest.to_json().encode())
        return manifest

    def _keep_only_the_collection(self, taken: Workspace) -> None:
        if self.collection is None:
            return
        for name in collection_names(taken):
            if name != self.collection:
                delete_collection(taken, name)
        with taken.atomic() as db:
            for table in ("runs", "jobs"):
                db.execute(f"DELETE FROM {table} WHERE collection <> ?", (self.collection,))
        with translate_sqlite_errors():
            taken.db.conn.execute("VACUUM")  # what was deleted must not be read from the file

    def _take_versions(self, taken: Workspace) -> None:
        for name in collection_names(taken):
            live = live_version(taken, name)
            previous = "".join(
                row[0] for row in taken.fetch("SELECT previous FROM aliases WHERE collection = ?", (name,))
            )
            for found in list_versions(taken, name):
                if found.version not in (live, previous) or not self._take_version(taken, name, found):
                    self._forget_version(taken, name, found.version)

    def _take_version(self, taken: Workspace, collection: str, found: IndexVersion) -> bool:
        """Take a version's files, unless it cannot be taken; that the live one is damaged is an error."""
        what = f"index {found.version} of {collection}"
        if found.manifest.parameters.backend == "redis":
            self.left_out[what] = "its vectors are in Redis: build another index after the restoration"
            return False
        try:
            if found.state != READY:
                raise CorruptArtifact(f"{what} is quarantined: `twinspire doctor` says what to do")
            self._take_index_files(collection, found.version)
            return True
        except CorruptArtifact as error:
            if not found.live:
                self.left_out[what] = str(error)
                return False
            if all(each.version != found.version for each in list_versions(self.source, collection)):
                raise _Moved(f"{what} was pruned while it was exported: try again") from error
            raise

    def _take_index_files(self, collection: str, version: str) -> None:
        relative = Path("indexes") / collection / version
        self._take_folder(self.source.root / relative, relative)
        manifest = read_verified(self.folder / relative)
        self._record(relative, {name: record.sha256 for name, record in manifest.files.items()})

    def _forget_version(self, taken: Workspace, collection: str, version: str) -> None:
        with taken.atomic() as db:
            where = (collection, version)
            db.execute("DELETE FROM indexes WHERE collection = ? AND version = ?", where)
            db.execute("DELETE FROM aliases WHERE collection = ? AND version = ?", where)
            db.execute("UPDATE aliases SET previous = '' WHERE collection = ? AND previous = ?", where)

    def _take_models(self, taken: Workspace) -> None:
        versions = [each for name in collection_names(taken) for each in list_versions(taken, name)]
        needed = {each.manifest.fingerprint for each in versions}
        for model in list_models(taken):
            wanted = self.collection is None or model.fingerprint in needed
            wanted = wanted or (model.kind == KIND and model.name == model_name(self.collection or ""))
            if wanted and self._take_model(model, needed=model.fingerprint in needed):
                self.models[model.reference] = model.fingerprint
                continue
            with taken.atomic() as db:
                db.execute("DELETE FROM models WHERE name = ? AND version = ?", (model.name, model.version))

    def _take_model(self, model: ModelRow, *, needed: bool) -> bool:
        relative = Path("models") / model.name / str(model.version)
        try:
            self._take_folder(self.source.root / relative, relative)
            card = read_card(self.folder / relative)
            self._record(relative, dict(card.files))
            return True
        except CorruptArtifact as error:
            if needed:
                raise
            self.left_out[f"model {model.reference}"] = str(error)
            return False

    def _take_folder(self, source: Path, relative: Path) -> None:
        """Take all files of a folder that is never changed again."""
        if not source.is_dir():
            raise CorruptArtifact(f"{relative} is missing")
        for file in sorted(each for each in source.rglob("*") if each.is_file()):
            target = self.folder / relative / file.relative_to(source)
            with suppress(FileNotFoundError):  # pruned just now: the manifest tells whether it matters
                if take_file(file, target, link=not self.copy):
                    self.linked += target.stat().st_size

    def _record(self, relative: Path, known: Mapping[str, str]) -> None:
        """Note the files of a folder; of those that were verified just now the digest is known."""
        for file in sorted(each for each in (self.folder / relative).rglob("*") if each.is_file()):
            digest = known.get(file.relative_to(self.folder / relative).as_posix()) or sha256(file)
            self.files[file.relative_to(self.folder).as_posix()] = FileRecord(digest, file.stat().st_size)
        total = sum(record.size for record in self.files.values())
        self.on_progress(Progress("files", total, 0))

    def _describe(self, taken: Workspace) -> dict[str, BundledCollection]:
        """Describe each collection, and search it."""
        collections = {}
        names = collection_names(taken)
        for done, name in enumerate(names, start=1):
            live = next((it for it in list_versions(taken, name) if it.live), None)
            probe = make_probe(taken, name, live.version) if live else None
            collections[name] = BundledCollection(
                items=count(taken, name).items,
                live_version=live.version if live else "",
                model=live.manifest.model if live else "",
                probe=probe,
            )
            self.on_progress(Progress("try", done, len(names)))
        return collections


def copy_database(source: Workspace, target: Path, on_progress: OnProgress = ignore_progress) -> None:
    """Copy a database as of one moment, by SQLite's backup, while others write.

    One reading transaction is held over the whole copy: otherwise each write of another process would make
    the backup begin again, and it might never end.

    Raises:
        StorageFull: if the disk is full.
        UnusableWorkspace: if the database is damaged.
    """

    def told(_status: int, remaining: int, total: int) -> None:
        on_progress(Progress("database", total - remaining, total))

    with translate_sqlite_errors(), closing(sqlite3.connect(target)) as copied:
        connection = source.db.conn
        connection.execute("BEGIN")
        try:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            connection.backup(copied, pages=_BACKUP_PAGES, progress=told, sleep=0)
        finally:
            connection.rollback()


def _check_database(taken: Workspace) -> None:
    (found,) = taken.fetch("PRAGMA quick_check(1)")[0]
    if found != "ok":
        raise CorruptArtifact(f"the database is damaged: {found}")


def _software() -> str:
    try:
        return version("twinspire")
    except PackageNotFoundError:
        return ""
