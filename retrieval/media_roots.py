"""The folders that media files may lie in, and the uris that name files under them."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, unquote

from retrieval.errors import InvalidInput, UriNotAllowed
from retrieval.workspace import Workspace

SCHEME = "media://"


def media_roots(ws: Workspace) -> dict[str, Path]:
    """Return the workspace's roots by name."""
    return {name: Path(path) for name, path in ws.fetch("SELECT name, path FROM media_roots")}


def add_media_root(ws: Workspace, name: str, folder: Path) -> None:
    """Open a folder to uris, under a name; a name that is taken now means this folder.

    Raises:
        InvalidInput: if the name holds a slash, or is empty, or the folder is none.
    """
    if not name or "/" in name or name in (".", ".."):
        raise InvalidInput(f"media root: expected a name without slashes, got {name!r}", field="name")
    if not folder.is_dir():
        raise InvalidInput(f"media root {name!r}: there is no such folder", field="path")
    with ws.atomic() as db:
        db.execute("INSERT OR REPLACE INTO media_roots VALUES (?, ?)", (name, str(folder.resolve())))


def uri_of(root: str, relative: Path) -> str:
    """Name a file under a root.

    >>> uri_of("photos", Path("paris/tour eiffel.jpg"))
    'media://photos/paris/tour%20eiffel.jpg'
    """
    return f"{SCHEME}{quote(root, safe='')}/{quote(relative.as_posix())}"


def resolve_uri(roots: Mapping[str, Path], uri: str) -> Path:
    """Find the file that a uri names.

    Raises:
        UriNotAllowed: unless it lies under its root, after all links are followed. The message tells no path.
    """
    name, _, rest = uri.removeprefix(SCHEME).partition("/")
    root = roots.get(unquote(name)) if uri.startswith(SCHEME) else None
    if root is None or not rest:
        raise UriNotAllowed(f"uri: expected {SCHEME}ROOT/PATH with a root of the workspace, got {uri[:80]!r}")
    try:
        base = root.resolve()
        file = (base / unquote(rest)).resolve()
    except (OSError, ValueError, RuntimeError) as error:  # a loop of links, a NUL
        raise UriNotAllowed("uri: it names no file") from error
    if not file.is_relative_to(base):
        raise UriNotAllowed("uri: it leads out of its root")
    return file
