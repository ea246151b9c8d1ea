"""Deleting a collection, with everything that was made of it alone."""

import shutil
from contextlib import suppress

from retrieval.collections import delete_collection, require_collection
from retrieval.errors import VersionNotFound
from retrieval.failpoints import failpoint
from retrieval.index_build import redis_module
from retrieval.publishing import delete_version, list_versions, version_folders
from retrieval.workspace import Workspace


def remove_collection(ws: Workspace, collection: str) -> None:
    """Delete a collection: items, vectors, judged queries, index versions, and what of it lies in Redis.

    Models, media files and the records of trainings stay. Running servers let go of it. What was interrupted
    is done by doing it again.

    Raises:
        CollectionNotFound: if there is no such collection.
        BackendUnavailable: if Redis holds a part of it and does not answer.
        StorageFull, UnusableWorkspace: if the database cannot be written.
    """
    require_collection(ws, collection)
    versions = list_versions(ws, collection)
    in_redis = any(version.manifest.parameters.backend == "redis" for version in versions)
    if in_redis:  # the first to fail: if Redis is away, nothing has happened
        redis_module("removal").withdraw(collection)
    with ws.atomic() as db:
        db.execute("DELETE FROM aliases WHERE collection = ?", (collection,))
    failpoint("remove-not-live")
    if in_redis:
        redis_module("removal").remove_items(collection)
    for version in versions:
        with suppress(VersionNotFound):  # another process was first
            delete_version(ws, collection, version.version)
    failpoint("remove-versions-deleted")
    with ws.atomic():
        delete_collection(ws, collection)
        left = version_folders(ws, collection)  # by a crash, or a build that was published meanwhile
    for folder in left:
        shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # it is not there, or a build goes on in it, which will fail
        (ws.indexes / collection).rmdir()
