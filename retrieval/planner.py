"""Chooses how to search under a filter: over-fetch and drop, or scan the rows that match.

The graph cannot be trusted under a filter: it loses recall when few rows match, and worse when they lie
together (docs/decisions/021-filtered-search.md). So it is searched *without* the filter, and what it finds is
dropped where it does not match. If enough is left, those are the true nearest matches, up to the graph's own
recall. If not, the query's neighbourhood holds few matches, and a scan of the matching rows is exact.
"""

from dataclasses import dataclass
from math import ceil, sqrt

from retrieval.index_types import RECALL_AT

# Costs in units of one matching row scanned by FAISS; measured at 200k x 256, fp16, one core.
COST_OF_EFFORT = 17.0  # one step of the graph compares about as many vectors
COST_OF_SKIPPED_ROW = 1 / 76  # a row that the bitmap excludes
COST_OF_GATHERED_ROW = 3.5  # a row copied out for the matrix product, once per batch
COST_OF_MULTIPLIED_ROW = 0.1  # a row in the matrix product, per query

# Matches met within a depth vary like a negative binomial; this many deviations are allowed for.
DEVIATIONS = 2.5


@dataclass(frozen=True, slots=True)
class Plan:
    """How to search under a filter."""

    fetch: int  # neighbours to fetch without the filter; 0 = scan the matching rows
    by_matrix: bool  # how to scan, now or for the queries that find too few: matrix product, or FAISS
    text: str  # for people


# Neighbours fetched beyond the limit, for those that turn out to be deleted or of an item already shown.
SPARE = 2


def graph_effort(effort: int, limit: int) -> int:
    """Return the effort that has the recall at `limit` that `effort` has at ten neighbours.

    Measured, the effort for equal recall grows by one with each further neighbour; spare ones need none.

    >>> graph_effort(80, 10), graph_effort(80, 10 + SPARE), graph_effort(80, 100 + SPARE)
    (80, 80, 170)
    """
    return max(effort + limit - SPARE - RECALL_AT, effort, limit)


def plan_filtered(
    *, queries: int, count: int, matching: int, limit: int, effort: int, approximate: bool
) -> Plan:
    """Choose the cheaper way.

    Args:
        queries: that share the filter.
        count: vectors in the index.
        matching: vectors that the filter lets through.
        limit: neighbours per query.
        effort: of the unfiltered search at ten neighbours.
        approximate: whether the index has a way that is faster than a scan, and may use it.
    """
    by_matrix, scan_cost = scan_way(queries, count, matching)
    scan = Plan(0, by_matrix, f"exact scan of the {matching} rows that match")
    if not approximate or matching <= limit:
        return scan
    share = matching / count
    depth = ceil((limit + DEVIATIONS * sqrt(limit * (1 - share))) / share)
    if depth >= count or graph_effort(effort, depth) * COST_OF_EFFORT >= scan_cost:
        return scan
    text = f"{depth} nearest of all, less those that do not match ({share:.1%} match)"
    return Plan(depth, by_matrix, text)


def scan_way(queries: int, count: int, matching: int) -> tuple[bool, float]:
    """Return whether the matrix product scans faster than FAISS does, and the cost of one query."""
    by_matrix = matching * (COST_OF_GATHERED_ROW / queries + COST_OF_MULTIPLIED_ROW)
    by_faiss = matching + count * COST_OF_SKIPPED_ROW
    return by_matrix < by_faiss, min(by_matrix, by_faiss)
