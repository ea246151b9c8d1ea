"""Encoding in Ray's workers: the vectors of the local runner, whatever dies on the way."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from indexer.indexing import index_collection
from indexer.ray_runner import made_row_by_row
from retrieval.collections import create_collection
from retrieval.content import Content
from retrieval.dead_letters import dead_letters
from retrieval.embeddings import count_embeddings, read_embeddings
from retrieval.errors import EncoderFault
from retrieval.failpoints import FAILPOINT_VARIABLE
from retrieval.items import Item, upsert_items
from retrieval.workspace import Workspace
from tests.indexer.encoders import add_model

WORDS = [f"w{n}" for n in range(40)]
ITEMS = 1500  # six shards
DIMS = 16
MARK = "TWINSPIRE_TEST_MARK"


def fill(root: Path, *, broken: bool = False) -> Workspace:
    """Make a workspace with items and an encoder, which fails for the word "bad" if that is wanted."""
    ws = Workspace(root, create=True)
    create_collection(ws, "c")
    rng = np.random.default_rng(0)
    upsert_items(ws, "c", [Item(f"i{n}", text=" ".join(rng.choice(WORDS, 5))) for n in range(ITEMS)])
    table = np.random.default_rng(1).normal(size=(len(WORDS) + 3, DIMS)).astype(np.float32)
    if broken:
        table[-1] = np.nan
        upsert_items(ws, "c", [Item("broken", text="bad bad")])
    add_model(ws, [*WORDS, "bad"], name="tower", table=table)
    return ws


def index_by_ray(root: Path, failpoint: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command, and see that no process of it is left."""
    mark = uuid.uuid4().hex
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "twinspire",
                "--workspace",
                str(root),
                "index",
                "c",
                "--encoder",
                "tower",
            ),
            *("--runner", "ray", "--workers", "2", "--backend", "exact", "--json"),
        ],
        env=os.environ | {MARK: mark, FAILPOINT_VARIABLE: failpoint},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    give_up = time.monotonic() + 60
    while left := [process for process in psutil.process_iter() if is_marked(process, mark)]:
        assert time.monotonic() < give_up, left
        time.sleep(0.2)
    return done


def is_marked(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(MARK) == mark
    except psutil.Error:
        return False


def report(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def vectors(ws: Workspace, fingerprint: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    keys, rows = zip(*read_embeddings(ws, "c", fingerprint), strict=True)
    return np.concatenate(keys), np.concatenate(rows)


@pytest.mark.slow
def test_workers_that_die_lose_and_repeat_nothing_and_make_the_same_vectors(tmp_path: Path) -> None:
    with fill(tmp_path / "ray") as ws, fill(tmp_path / "local") as local:
        told = report(index_by_ray(tmp_path / "ray", "ray-shard:2=kill"))
        expected = index_collection(local, "c", "tower", backend="exact")

        assert (told["encoded"], told["count"]) == (ITEMS, ITEMS), [
            letter.message for letter in dead_letters(ws, "c")
        ][:3]
        assert expected.encoded == ITEMS
        assert told["fingerprint"] == expected.fingerprint
        for ours, theirs in zip(
            vectors(ws, expected.fingerprint), vectors(local, expected.fingerprint), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_a_driver_that_dies_goes_on_where_it_was_and_one_bad_row_is_set_aside_alone(tmp_path: Path) -> None:
    with fill(tmp_path / "ws", broken=True) as ws:
        died = index_by_ray(tmp_path / "ws", "vectors-committed:2=kill")
        fingerprint = ws.fetch("SELECT fingerprint FROM encoders")[0][0]
        there = count_embeddings(ws, "c", fingerprint)
        told = report(index_by_ray(tmp_path / "ws"))

        assert died.returncode != 0
        assert 0 < there < ITEMS
        assert told["encoded"] == ITEMS - there
        assert told["count"] == ITEMS
        assert told["set_aside"] == 1
        assert [letter.reason for letter in dead_letters(ws, "c")] == [EncoderFault.reason]


def batch(texts: Sequence[str]) -> list[tuple[int, Content]]:
    return [(key, Content(text=text)) for key, text in enumerate(texts, 1)]


def encode(contents: Sequence[Content]) -> NDArray[np.float32]:
    if any(content.text == "bad" for content in contents):
        raise RuntimeError("/some/path")
    return np.array([[float(content.text)] for content in contents], dtype=np.float32)


def test_what_fails_alone_is_found_by_halving() -> None:
    made = made_row_by_row(encode, batch(["1", "2", "bad", "4", "5", "bad"]), "f" * 64)

    assert made.rows is not None
    assert dict(zip(made.keys, made.rows[:, 0].tolist(), strict=True)) == {1: 1.0, 2: 2.0, 4: 4.0, 5: 5.0}
    assert [(letter.segment, letter.reason) for letter in made.letters] == [
        (3, EncoderFault.reason),
        (6, EncoderFault.reason),
    ]
    assert "path" not in made.letters[0].message


def test_what_fails_for_every_row_is_the_encoders_fault() -> None:
    with pytest.raises(EncoderFault):
        made_row_by_row(encode, batch(["bad"] * 20), "f" * 64)
