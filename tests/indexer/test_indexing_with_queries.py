"""What judged queries tell while indexing: the recall, and how to fuse with BM25."""

import sqlite3

import pytest

from indexer.indexing import index_collection
from retrieval.collections import create_collection
from retrieval.opening import open_index
from retrieval.workspace import Workspace
from tests.indexer.encoders import add_model
from tests.indexer.filling import WORDS, add_queries


def test_recall_is_measured_without_judged_queries(filled: Workspace) -> None:
    report = index_collection(filled, "c", "test", overrides={"kind": "hnsw"})

    assert report.parameters.recall >= 0.9
    assert report.parameters.recall_queries > 0


def test_recall_is_measured_on_judged_queries_if_there_are_enough(filled: Workspace) -> None:
    add_queries(filled, 60)

    report = index_collection(filled, "c", "test", overrides={"kind": "hnsw"})

    assert report.parameters.recall_queries == 30  # the other half chose the effort


def test_other_validation_queries_make_another_version(filled: Workspace) -> None:
    index_collection(filled, "c", "test")
    add_queries(filled, 20)

    assert not index_collection(filled, "c", "test").nothing_new
    assert index_collection(filled, "c", "test").nothing_new


def test_the_fusion_is_learned_on_validation_queries(filled: Workspace) -> None:
    add_queries(filled, 60)

    report = index_collection(filled, "c", "test")

    assert report.fusion["queries"] == 60
    assert open_index(filled, "c", report.version).manifest.fusion == report.fusion


def test_no_fusion_is_learned_on_test_queries(filled: Workspace) -> None:
    add_queries(filled, 60, "test")

    assert index_collection(filled, "c", "test").fusion == {}


def test_texts_are_not_read_where_no_query_asks_for_them(filled: Workspace) -> None:
    _lose_the_words(filled)

    assert index_collection(filled, "c", "test").count == 300


def test_words_that_cannot_be_read_are_told_of_even_without_a_fusion(ws: Workspace) -> None:
    create_collection(ws, "c")
    add_model(ws, WORDS)
    add_queries(ws, 30)
    _lose_the_words(ws)

    with pytest.raises(sqlite3.OperationalError, match="docsize"):
        index_collection(ws, "c", "test")


def _lose_the_words(ws: Workspace) -> None:
    with ws.atomic() as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("DELETE FROM sqlite_master WHERE name = 'items_fts_1_docsize'")
    ws.db.execute("PRAGMA writable_schema = RESET")
