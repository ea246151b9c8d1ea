"""Versions that cannot be served: they are refused, and the old one stays."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc import StatusCode

from protos.twinspire.v1 import search_pb2
from retrieval.embeddings import read_embeddings
from retrieval.index_build import build_index
from retrieval.index_types import choose_parameters
from retrieval.manifest import Manifest
from retrieval.publishing import list_versions, new_version_folder, publish
from retrieval.workspace import Workspace
from tests.server.running import TIMEOUT_S, Failure, Running
from tests.server.test_collections import describe, second_version, set_live
from tests.server.workspaces import COLLECTION, write_encoder

Fails: TypeAlias = Callable[[Callable[[], Any]], Failure]


def test_a_new_version_that_fails_its_warm_up_is_refused_and_the_old_one_stays(
    running: Running, fails: Fails
) -> None:
    first = describe(running).live_version
    card = write_encoder(running.ws, version=2, broken_word="north")  # the word that it is warmed up with
    second = publish_under(running.ws, card.fingerprint, like=first)

    failure = fails(lambda: set_live(running, second, first))

    assert (failure.code, failure.reason) == (StatusCode.FAILED_PRECONDITION, "WARM_UP_FAILED")
    assert running.find("north").index_version == first
    assert describe(running).live_version == first
    assert running.metric("twinspire_errors_total", reason="WARM_UP_FAILED") == 1


def publish_under(ws: Workspace, fingerprint: str, *, like: str, leave_out: int = 0, **overrides: Any) -> str:
    """Publish the vectors of a version again, under a fingerprint, without its first few."""
    (version,) = [each for each in list_versions(ws, COLLECTION) if each.version == like]
    old = version.manifest
    parts = list(read_embeddings(ws, COLLECTION, old.fingerprint))
    keys = np.concatenate([keys for keys, _ in parts])[leave_out:]
    vectors = np.concatenate([vectors for _, vectors in parts])[leave_out:]
    folder = new_version_folder(ws, COLLECTION)
    parameters = choose_parameters(len(keys), old.dims, overrides={"backend": "exact"} | overrides)
    built = build_index(folder, [(keys, vectors)], old.dims, parameters, vectors[:20])
    manifest = Manifest(
        collection=COLLECTION,
        fingerprint=fingerprint,
        model=old.model,
        dims=old.dims,
        count=built.count,
        built_key=built.built_key,
        parameters=built.parameters,
    )
    return publish(ws, COLLECTION, folder, manifest)


def test_a_version_whose_encoder_was_exchanged_is_refused(
    tmp_path: Path, running: Running, fails: Fails
) -> None:
    first, second = describe(running).live_version, second_version(running.ws)
    with Workspace(tmp_path / "elsewhere", create=True) as elsewhere:
        write_encoder(elsewhere, version=2, max_words=3)
        shutil.copytree(elsewhere.models, running.ws.models, dirs_exist_ok=True)

    failure = fails(lambda: set_live(running, second, first))

    assert (failure.code, failure.reason) == (StatusCode.FAILED_PRECONDITION, "ENCODER_INDEX_MISMATCH")
    assert running.find("north").index_version == first


def test_a_partial_index_is_a_failed_precondition(running: Running, fails: Fails) -> None:
    first = describe(running).live_version
    fingerprint = running.find("north").encoder_fingerprint
    partial = publish_under(running.ws, fingerprint, like=first, leave_out=3)

    failure = fails(lambda: set_live(running, partial, first))

    assert (failure.code, failure.reason) == (StatusCode.FAILED_PRECONDITION, "PARTIAL_INDEX")
    assert "3 of" in failure.message
    assert running.find("north").index_version == first


def test_a_missing_extra_is_a_failed_precondition_that_names_it(
    running: Running, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = describe(running).live_version
    fingerprint = running.find("north").encoder_fingerprint
    second = publish_under(running.ws, fingerprint, like=first, backend="faiss")
    monkeypatch.setitem(sys.modules, "faiss", None)  # as if it were not installed
    for module in ("faiss_library", "faiss_index"):
        monkeypatch.delitem(sys.modules, f"retrieval.{module}", raising=False)

    failure = fails(lambda: set_live(running, second, first))

    assert (failure.code, failure.reason) == (StatusCode.FAILED_PRECONDITION, "MISSING_EXTRA")
    assert "twinspire[cpu]" in failure.message
    assert failure.detail(error_details_pb2.ErrorInfo).metadata["extra"] == "cpu"
    assert running.find("north").index_version == first


def test_each_answer_of_a_batch_is_of_one_version_whatever_is_swapped_meanwhile(running: Running) -> None:
    """A query during a reindex: the version that an answer names is the one that made all of it."""
    versions = [describe(running).live_version, second_version(running.ws)]
    fingerprints: dict[str, str] = {}
    requests = [
        search_pb2.SearchRequest(
            collection=COLLECTION, query=search_pb2.Query(text="north"), with_vector=True
        )
    ] * 16
    for at in range(20):
        call = running.search.BatchSearch.future(
            search_pb2.BatchSearchRequest(requests=requests), timeout=TIMEOUT_S
        )
        set_live(running, versions[(at + 1) % 2], versions[at % 2])
        answers = [result.response for result in call.result().results]
        assert len({answer.index_version for answer in answers}) == 1
        for answer in answers:
            known = fingerprints.setdefault(answer.index_version, answer.encoder_fingerprint)
            assert answer.encoder_fingerprint == known
            # The axes of version 2 are turned: a vector of the one in the other would score 0.
            assert [hit.score for hit in answer.hits[:1]] == [1.0]
    assert len(fingerprints) == 2
