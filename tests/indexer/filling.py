"""Items and judged queries to index."""

import numpy as np

from retrieval.items import Item, upsert_items
from retrieval.judgements import JudgedQuery, put_judged_queries
from retrieval.workspace import Workspace

WORDS = [f"word{n}" for n in range(200)]


def add_items(ws: Workspace, start: int, stop: int) -> None:
    random = np.random.default_rng(start)
    texts = {n: " ".join(random.choice(WORDS, 12)) for n in range(start, stop)}
    upsert_items(ws, "c", [Item(id=f"i{n}", text=text) for n, text in texts.items()])


def add_queries(ws: Workspace, n: int, split: str = "validation") -> None:
    put_judged_queries(
        ws, "c", [JudgedQuery(f"q{i}", f"{WORDS[i]} {WORDS[i + 1]}", split, {f"i{i}": 1}) for i in range(n)]
    )
