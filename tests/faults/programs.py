"""What the crash tests kill: each job as a process of its own. `python programs.py JOB WORKSPACE`."""

import sys
from collections.abc import Callable
from pathlib import Path

from retrieval.chunking import Chunking
from retrieval.item_writes import delete_items, upsert_items
from retrieval.items import Item
from retrieval.workspace import Workspace

COLLECTION = "c"
OLD = [Item(f"i{n}", text=f"old words of number {n}", attributes={"n": n}) for n in range(20)]
LONG = " ".join(f"word{n}." for n in range(60))
NEW = [
    *(Item(f"i{n}", text=f"changed words of number {n}", attributes={"n": n}) for n in range(5)),
    *(Item(f"i{n}", text=f"old words of number {n}", attributes={"n": -n}) for n in range(5, 10)),
    *(Item(f"new{n}", text=LONG, attributes={}) for n in range(5)),
]


def upsert(ws: Workspace) -> None:
    """Insert, replace, change attributes of, and split items."""
    upsert_items(ws, COLLECTION, NEW, chunking=Chunking(20, 0))


def delete(ws: Workspace) -> None:
    """Delete half of the items."""
    delete_items(ws, COLLECTION, [item.id for item in OLD[::2]])


def import_rows(ws: Workspace) -> None:
    """Import the rows beside the workspace, a hundred at a time."""
    from indexer import importing
    from indexer.importers.source import Source

    importing.BATCH_RECORDS = 100
    importing.import_source(ws, COLLECTION, Source(kind="jsonl", path=ws.root.parent / "rows.jsonl"))


def index(ws: Workspace) -> None:
    """Encode and index the collection, fifty segments at a time."""
    from indexer import encoding
    from indexer.indexing import index_collection

    encoding.BATCH_SEGMENTS = 50
    index_collection(ws, COLLECTION, "test", backend="exact")


def remove(ws: Workspace) -> None:
    """Delete the collection."""
    from retrieval.removal import remove_collection

    remove_collection(ws, COLLECTION)


def train(ws: Workspace) -> None:
    """Train a small two-tower; a checkpoint every epoch."""
    import torch

    from encoders.training.config import TwoTowerConfig
    from encoders.training.optimisation import LoopConfig
    from encoders.training.two_tower import train_two_tower

    torch.set_num_threads(1)
    assert LoopConfig.__init__.__kwdefaults__ is not None
    LoopConfig.__init__.__kwdefaults__["checkpoint_every_s"] = 0.0
    config = TwoTowerConfig(
        init="none",
        dims=16,
        hidden_dims=32,
        dropout=0.2,
        corpus_steps=100,
        epochs=3,
        batch_size=16,
        min_word_texts=1,
    )
    train_two_tower(ws, COLLECTION, config, name="m")


JOBS: dict[str, Callable[[Workspace], None]] = {
    "upsert": upsert,
    "delete": delete,
    "import": import_rows,
    "index": index,
    "remove": remove,
    "train": train,
}

if __name__ == "__main__":
    with Workspace(Path(sys.argv[2])) as workspace:
        JOBS[sys.argv[1]](workspace)
