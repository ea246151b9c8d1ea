"""Makes small index versions. Run as a program, it publishes and promotes one: the crash tests kill it."""

import sys
from pathlib import Path

import numpy as np

from retrieval.index import Keys, Vectors
from retrieval.index_build import build_index
from retrieval.index_types import choose_parameters
from retrieval.manifest import Manifest
from retrieval.publishing import new_version_folder, promote, publish
from retrieval.workspace import Workspace
from tests.vectors import unit_rows


def publish_vectors(
    ws: Workspace, keys: Keys, vectors: Vectors, *, fingerprint: str = "f" * 64, **overrides: object
) -> str:
    """Build and publish a version of the collection "c"."""
    folder = new_version_folder(ws, "c")
    parameters = choose_parameters(len(keys), vectors.shape[1], overrides=overrides)
    built = build_index(folder, [(keys, vectors)], vectors.shape[1], parameters, vectors[:20])
    manifest = Manifest(
        collection="c",
        fingerprint=fingerprint,
        model="m@1",
        dims=vectors.shape[1],
        count=built.count,
        built_key=built.built_key,
        parameters=built.parameters,
    )
    return publish(ws, "c", folder, manifest)


def publish_some(ws: Workspace, count: int = 20, *, seed: int = 0, **overrides: object) -> str:
    """Publish a version of random vectors with the keys 1 to `count`."""
    return publish_vectors(
        ws, np.arange(1, count + 1), unit_rows(count, seed=seed), fingerprint="f" * 64, **overrides
    )


if __name__ == "__main__":
    with Workspace(Path(sys.argv[1])) as ws:
        promote(ws, "c", publish_some(ws, 30, seed=1, backend="exact"))  # starts faster than FAISS
