"""Windows of long sounds and videos, as segments beside the whole."""

from collections import defaultdict
from collections.abc import Mapping
from typing import TypeAlias

from retrieval.collections import collection_rowid
from retrieval.errors import InvalidInput
from retrieval.workspace import Workspace

SHORTEST_WINDOW_S = 0.5
MOST_WINDOWS = 10_000  # of one item; what is longer keeps only its beginning
_OF_NO_LENGTH = -1.0  # a window whose item turned out to be shorter or longer

Span: TypeAlias = tuple[float, float]


def window_media(ws: Workspace, collection: str, window_s: float | None = None) -> float:
    """Let the sounds and videos of a collection be found by their parts.

    Each that is longer than a window is cut into windows, side by side, the last one shifted back so that
    it is as long. The whole stays a segment too. Windows of another length stay as well, for the versions
    that hold them, until `drop_superseded_segments`.

    Args:
        ws: the workspace.
        collection: whose items. Those without a `duration_s` attribute are not cut.
        window_s: the length of a window, in seconds; 0 means no windows, None what was asked for last.

    Returns:
        The length of the windows; 0 if there are none.

    Raises:
        InvalidInput: if the windows are too short.
    """
    if window_s and not SHORTEST_WINDOW_S <= window_s <= 3600:  # NaN fails too
        raise InvalidInput(
            f"windows: expected 0 or {SHORTEST_WINDOW_S} to 3600 seconds, got {window_s}", field="windows"
        )
    owner = collection_rowid(ws, collection)
    with ws.atomic() as db:
        if window_s is None:
            window_s = wanted_window_s(ws, collection)
        else:
            db.execute("UPDATE collections SET window_s = ? WHERE rowid = ?", (window_s, owner))
        if window_s:
            _cut(ws, collection, owner, window_s)
    return window_s


def wanted_window_s(ws: Workspace, collection: str) -> float:
    """Return the length of the windows that a collection is being cut into; 0 if there are none.

    Raises:
        CollectionNotFound: if there is no such collection.
    """
    owner = collection_rowid(ws, collection)
    return float(ws.fetch("SELECT window_s FROM collections WHERE rowid = ?", (owner,))[0][0])


def _cut(ws: Workspace, collection: str, owner: int, window_s: float) -> None:
    """Add the windows that are missing."""
    had = _windows_of(ws, owner, window_s)
    items = ws.fetch(
        "SELECT rowid, json_extract(attributes, '$.duration_s') FROM items"
        " WHERE collection = ? AND modality IN ('audio', 'video')",
        (collection,),
    )
    new, wrong = [], []
    for item, duration_s in items:
        wanted = windows(duration_s, window_s) if isinstance(duration_s, int | float) else []
        there = had[item]
        new += [(owner, item, *span, window_s) for span in wanted if span not in there]
        wrong += [(_OF_NO_LENGTH, there[span]) for span in there.keys() - wanted]
    with ws.atomic() as db:
        db.conn.executemany("UPDATE segments SET window_s = ? WHERE rowid = ?", wrong)
        db.conn.executemany(
            "INSERT INTO segments(collection, item, start, end, window_s) VALUES (?, ?, ?, ?, ?)", new
        )
        db.execute(
            "UPDATE collections SET sequence = max(sequence, coalesce((SELECT max(rowid) FROM segments"
            " WHERE collection = ?), 0)) WHERE rowid = ?",
            (owner, owner),
        )


def _windows_of(ws: Workspace, owner: int, window_s: float) -> Mapping[int, dict[Span, int]]:
    """Return the windows of one length that there are: their keys by span, by item."""
    found: dict[int, dict[Span, int]] = defaultdict(dict)
    for item, start, end, key in ws.fetch(
        "SELECT item, start, end, rowid FROM segments"
        " WHERE collection = ? AND start IS NOT NULL AND window_s = ?",
        (owner, window_s),
    ):
        found[item][start, end] = key
    return found


def windows(duration_s: float, window_s: float) -> list[Span]:
    """Cut a duration into windows; none if it is no longer than one.

    >>> windows(12.0, 5.0)
    [(0.0, 5.0), (5.0, 10.0), (7.0, 12.0)]
    """
    if not 0 < window_s < duration_s:
        return []
    whole = min(int(duration_s / window_s + 1e-6), MOST_WINDOWS)
    spans = [(number * window_s, (number + 1) * window_s) for number in range(whole)]
    if duration_s - whole * window_s > 1e-3 * window_s and whole < MOST_WINDOWS:
        spans.append((round(duration_s - window_s, 3), round(duration_s, 3)))
    return spans
