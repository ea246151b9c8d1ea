"""The doctor's look at media files: where they lie, and which could not be read."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from twinspire.checks import Check

if TYPE_CHECKING:
    from retrieval.workspace import Workspace


def check_media(ws: "Workspace") -> Iterator[Check]:
    """Are the folders of media files there, and could all be read?"""
    from retrieval.media_roots import media_roots

    for name, folder in media_roots(ws).items():
        if folder.is_dir():
            yield Check(f"media://{name}/", "ok", str(folder))
        else:
            remedy = f"say where it is now: twinspire roots set {name} FOLDER"
            yield Check(f"media://{name}/", "warning", f"{folder} is not there", remedy)
    for collection, count in ws.fetch(
        "SELECT name, count(*) FROM dead_letters JOIN collections ON collections.rowid = collection"
        " GROUP BY name ORDER BY name"
    ):
        remedy = f"see why: twinspire dead-letters {collection}"
        yield Check(f"{collection}: dead letters", "warning", f"{count:,} could not be read", remedy)
