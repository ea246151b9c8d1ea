"""One item as Redis holds it: a hash of these fields, which lists the item's segments."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from retrieval.search import Row

FIELDS = ("rowid", "modality", "text", "uri", "attributes", "created_at", "digest", "segments")


class Span(NamedTuple):
    """A segment of an item; start and end are None when it is all of it."""

    key: int
    start: float | None
    end: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisItem:
    """An item as Redis holds it."""

    id: str
    rowid: int
    modality: str
    text: str
    uri: str
    attributes: str  # JSON
    created_at: str
    digest: str = ""  # hex, of the content
    segments: Sequence[Span] = field(default_factory=tuple)

    @property
    def parsed(self) -> Mapping[str, Any]:
        """The attributes."""
        attributes: Mapping[str, Any] = json.loads(self.attributes)
        return attributes

    def row(self, key: int) -> Row | None:
        """What a hit on a segment shows; None if the segment is dead."""
        for span in self.segments:
            if span.key == key:
                place = None if span.start is None or span.end is None else (span.start, span.end)
                return Row(self.id, self.modality, self.text, self.uri, self.parsed, place)
        return None

    def values(self) -> tuple[str | int, ...]:
        """What the fields hold."""
        spans = json.dumps([list(span) for span in self.segments])
        return (
            self.rowid,
            self.modality,
            self.text,
            self.uri,
            self.attributes,
            self.created_at,
            self.digest,
            spans,
        )


def spans_from(raw: bytes | None) -> list[Span]:
    """Read the segments of an item; None stands for no item."""
    return [Span(*span) for span in json.loads(raw)] if raw else []


def item_from(id: str, reply: Sequence[bytes]) -> RedisItem:
    """Read the values of an item's fields."""
    rowid, modality, text, uri, attributes, created_at, digest = (part.decode() for part in reply[:7])
    return RedisItem(
        id=id,
        rowid=int(rowid),
        modality=modality,
        text=text,
        uri=uri,
        attributes=attributes,
        created_at=created_at,
        digest=digest,
        segments=tuple(spans_from(reply[7])),
    )
