"""Search results as a coloured table, and as JSON."""

from collections.abc import Iterable
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from retrieval.media_roots import SCHEME
from retrieval.search import ScoreKind
from twinspire.results import Hit, SearchResult

SNIPPET_CHARACTERS = 400  # the table cuts it to the terminal's width
PIPED_SNIPPET_CHARACTERS = 90
RELEVANT_MARK = "✓"

# At least this score -> this colour.
SCORE_COLOURS = ((0.8, "bright_green"), (0.5, "green"), (0.3, "yellow"))
LOW_SCORE_COLOUR = "red"


def score_colour(score: float) -> str:
    """Choose the colour of a score, from 0 to 1.

    >>> score_colour(0.83), score_colour(0.5), score_colour(0.31), score_colour(-0.2)
    ('bright_green', 'green', 'yellow', 'red')
    """
    return next((colour for least, colour in SCORE_COLOURS if score >= least), LOW_SCORE_COLOUR)


def show_result(
    console: Console, query: str, result: SearchResult, relevant: Iterable[str] | None = None
) -> None:
    """Print the hits of one query.

    Args:
        console: where to.
        query: what was asked, in words.
        result: the answer.
        relevant: ids judged relevant, to be marked; None if the query is not a judged one.
    """
    known = None if relevant is None else frozenset(relevant)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, expand=console.is_terminal, pad_edge=False)
    table.add_column("#", justify="right", style="dim")
    table.add_column("score", justify="right")
    if known is not None:
        table.add_column("", width=1)
    table.add_column("text", no_wrap=True, overflow="ellipsis", ratio=1 if console.is_terminal else None)
    table.add_column("id", style="dim", no_wrap=True)
    # Fused scores have a unit of their own: there the best hit sets the scale.
    best = (
        1.0 if result.score_kind is ScoreKind.COSINE else max((hit.score for hit in result.hits), default=1.0)
    )
    for hit in result.hits:
        colour = score_colour(hit.score / best if best > 0 else hit.score)
        cells: list[str | Text] = [str(hit.rank), Text(f"{hit.score:.3f}", style=colour)]
        if known is not None:
            cells.append(Text(RELEVANT_MARK if hit.id in known else "", style="bold bright_green"))
        cells += [Text(_snippet(hit, console)), Text(hit.id)]
        table.add_row(*cells)
    console.print(
        Group(f"[bold]{escape(query)}[/]", table if result.hits else "  no hits", _footer(result, known))
    )
    console.print()


def _snippet(hit: Hit, console: Console) -> str:
    text = hit.text
    if hit.span is not None and hit.uri.startswith(SCHEME):
        text = f"{hit.span[0]:.1f} to {hit.span[1]:.1f} s  {text}"
    elif hit.span is not None:
        text = text[int(hit.span[0]) : int(hit.span[1])]
    text = " ".join((text or hit.uri.rpartition("/")[2]).split())
    longest = SNIPPET_CHARACTERS if console.is_terminal else PIPED_SNIPPET_CHARACTERS
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _footer(result: SearchResult, relevant: frozenset[str] | None) -> str:
    timing = result.timing
    parts = [
        f"{timing.total_ms:.1f} ms (encode {timing.encode_ms:.1f}, search {timing.search_ms:.1f}, "
        f"fetch {timing.fetch_ms:.1f})"
    ]
    if relevant:
        found = sum(hit.id in relevant for hit in result.hits)
        parts.append(f"{found} of {len(relevant)} relevant found")
    if result.truncated_query:
        parts.append("the query was longer than the encoder reads, and was cut")
    parts += [part for part in (result.model_version, f"index {result.index_version}") if part]
    return f"[dim]{escape(' · '.join(parts))}[/]"


def result_json(query: str, result: SearchResult, relevant: Iterable[str] | None = None) -> dict[str, Any]:
    """Describe a result as JSON."""
    known = None if relevant is None else frozenset(relevant)
    timing = result.timing
    return {
        "query": query,
        "hits": [_hit_json(hit, known) for hit in result.hits],
        "score_kind": str(result.score_kind),
        "index_version": result.index_version,
        "encoder_fingerprint": result.encoder_fingerprint,
        "model_version": result.model_version,
        "truncated_query": result.truncated_query,
        "timing": {
            "encode_ms": timing.encode_ms,
            "search_ms": timing.search_ms,
            "fetch_ms": timing.fetch_ms,
            "queue_ms": timing.queue_ms,
            "total_ms": timing.total_ms,
            "batch_size": timing.batch_size,
        },
    }


def _hit_json(hit: Hit, relevant: frozenset[str] | None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "id": hit.id,
        "score": hit.score,
        "rank": hit.rank,
        "text": hit.text,
        "attributes": dict(hit.attributes),
    }
    if hit.uri:
        body["uri"] = hit.uri
    if hit.span is not None:
        body["span"] = {"start": hit.span[0], "end": hit.span[1]}
    if relevant is not None:
        body["relevant"] = hit.id in relevant
    if hit.explanation is not None:
        explanation = hit.explanation
        body["explanation"] = {
            name: value
            for name in explanation.__slots__
            if (value := getattr(explanation, name)) not in (None, "")
        }
    return body
