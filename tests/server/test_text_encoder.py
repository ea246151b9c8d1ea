"""A server with a pretrained text encoder needs ONNX Runtime, and nothing that trained it."""

import subprocess
import sys
from pathlib import Path

from encoders.pretrained.adding import add_encoder
from encoders.pretrained.exporting import export_encoder
from indexer.indexing import index_collection
from retrieval.collections import create_collection
from retrieval.items import Item, upsert_items
from retrieval.workspace import Workspace
from tests.encoders.text.conftest import MakePublished, make_published

__all__ = ["make_published"]

PROGRAM = """
import sys
from pathlib import Path
from protos.twinspire.v1 import search_pb2
from retrieval.workspace import Workspace
from server.local import LocalSearch
with Workspace(Path(sys.argv[1])) as ws, LocalSearch(ws) as local:
    query = search_pb2.Query(text="the red ship")
    answer = local.search(search_pb2.SearchRequest(collection="docs", query=query, limit=1))
print(answer.hits[0].id, {"torch", "transformers"} & set(sys.modules) or "light")
"""


def test_texts_are_searched_without_torch(tmp_path: Path, make_published: MakePublished) -> None:
    root = tmp_path / "ws"
    with Workspace(root, create=True) as ws:
        create_collection(ws, "docs")
        upsert_items(ws, "docs", [Item("ship", text="the red ship"), Item("song", text="a song . w1x1 w2x2")])
        add_encoder(ws, "tiny", make_published())
        export_encoder(ws, "tiny")
        index_collection(ws, "docs", "tiny", backend="exact")

    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(root)], capture_output=True, text=True, check=True
    )

    assert run.stdout.strip() == "ship light"
