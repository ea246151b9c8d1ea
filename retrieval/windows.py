"""Windows of long sounds and videos, as segments beside the whole."""

from retrieval.collections import collection_rowid
from retrieval.errors import InvalidInput
from retrieval.workspace import Workspace

DURATION = "duration_s"  # the attribute that tells how long an item is
SHORTEST_WINDOW_S = 0.5
MOST_WINDOWS = 10_000  # of one item; what is longer keeps only its beginning


def window_media(ws: Workspace, collection: str, window_s: float) -> int:
    """Let the sounds and videos of a collection be found by their parts.

    Each that is longer than a window is cut into windows, side by side, the last one shifted back so that
    it is as long. The whole stays a segment too. Items that have these windows are left alone; others
    lose the windows that they had, with their vectors.

    Args:
        ws: the workspace.
        collection: whose items. Those without a `duration_s` attribute are not cut.
        window_s: the length of a window, in seconds; 0 takes all windows away.

    Returns:
        The number of items whose windows changed.

    Raises:
        InvalidInput: if the windows are too short.
    """
    if window_s and not SHORTEST_WINDOW_S <= window_s <= 3600:  # NaN fails too
        raise InvalidInput(
            f"windows: expected 0 or {SHORTEST_WINDOW_S} to 3600 seconds, got {window_s}", field="windows"
        )
    owner = collection_rowid(ws, collection)
    changed = 0
    with ws.atomic() as db:
        items = ws.fetch(
            "SELECT rowid, json_extract(attributes, '$.duration_s') FROM items"
            " WHERE collection = ? AND modality IN ('audio', 'video')",
            (collection,),
        )
        for rowid, duration_s in items:
            wanted = windows(duration_s, window_s) if isinstance(duration_s, int | float) else []
            had = ws.fetch(
                "SELECT start, end FROM segments WHERE item = ? AND start IS NOT NULL ORDER BY rowid",
                (rowid,),
            )
            if [tuple(span) for span in had] == wanted:
                continue
            changed += 1
            db.execute("DELETE FROM segments WHERE item = ? AND start IS NOT NULL", (rowid,))
            db.conn.executemany(
                "INSERT INTO segments(collection, item, start, end) VALUES (?, ?, ?, ?)",
                [(owner, rowid, *span) for span in wanted],
            )
        db.execute(
            "UPDATE collections SET sequence = max(sequence, coalesce((SELECT max(rowid) FROM segments"
            " WHERE collection = ?), 0)) WHERE rowid = ?",
            (owner, owner),
        )
    return changed


def windows(duration_s: float, window_s: float) -> list[tuple[float, float]]:
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
