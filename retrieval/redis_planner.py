"""Chooses how Redis is searched under a filter: over-fetch and drop, or fetch the rows that match.

The same idea as `planner`: VSIM's own FILTER loses recall when few match or the matches lie together, so the
graph is searched without it. What costs here is not only comparing but carrying: see docs/decisions/082.
"""

from math import ceil, sqrt

from retrieval.planner import DEVIATIONS, Plan, graph_effort

# Microseconds, measured on Redis 8.0.2 at 200k x 256.
SEARCH_US = 300.0  # a VSIM, beside its effort
EFFORT_US = 14.0  # each step of effort
NEIGHBOR_US = 1.0  # a neighbour that is carried and read
ROW_US = 7.0  # a matching row that is carried
KEPT_ROW_US = 0.05  # a row that was carried before, compared with one query


def plan_filtered(
    *,
    queries: int,
    count: int,
    matching: int,
    limit: int,
    effort: int,
    kept: bool,
    exact: bool,
    spent_us: float = 0.0,
) -> Plan:
    """Choose the cheaper way.

    Args:
        queries: that share the filter.
        count: vectors in the index.
        matching: vectors that the filter lets through.
        limit: neighbours per query.
        effort: of the unfiltered search at ten neighbours.
        kept: whether the matching rows are here already.
        exact: recall must be 1.
        spent_us: on over-fetching under this filter so far: once it would have paid for carrying the rows,
            they are carried.
    """
    carry_us = 0.0 if kept else max(0.0, matching * ROW_US - spent_us)
    scan_us = carry_us + queries * matching * KEPT_ROW_US
    scan = Plan(0, True, f"redis, exact over the {matching} rows that match")
    if exact or matching <= limit:
        return scan
    share = min(1.0, matching / count)
    depth = ceil((limit + DEVIATIONS * sqrt(limit * (1 - share))) / share)
    if depth >= count or queries * over_fetch_us(effort, depth) >= scan_us:
        return scan
    return Plan(
        depth, True, f"redis hnsw, {depth} nearest of all, less those that do not match ({share:.1%} match)"
    )


def over_fetch_us(effort: int, depth: int) -> float:
    """Return what one query costs that fetches so many neighbours."""
    return SEARCH_US + EFFORT_US * graph_effort(effort, depth) + NEIGHBOR_US * depth
