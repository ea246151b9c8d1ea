"""Building a Redis index: new keys, filled through pipelines, counted and sampled before anyone looks."""

import json
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np

from retrieval.deadlines import work_until
from retrieval.errors import CorruptArtifact, TwinspireError
from retrieval.index import Keys, Vectors
from retrieval.index_types import IndexParameters
from retrieval.redis_catalog import RedisCatalog
from retrieval.redis_layout import REDIS_FILE, VectorKeys
from retrieval.redis_server import redis_server
from retrieval.redis_vectors import RedisVectors

# VADDs on their way. One connection: their replies come one by one, so that a slow Redis is no silent one.
ROWS_IN_FLIGHT = 512
# Nobody waits for a build as for a search, and the machine may be busy with other builds.
PATIENCE_S = 60.0

SAMPLE = 256
SAMPLE_TOLERANCE = 1e-5


def build_in_redis(
    folder: Path,
    batches: Iterable[tuple[Keys, Vectors]],
    dims: int,
    parameters: IndexParameters,
    collection: str,
) -> None:
    """Add vectors to a build of its own, and write into the folder where it is.

    Args:
        folder: the version's, to be.
        batches: keys and their unit vectors, checked already.
        dims: the width of a vector.
        parameters: of the index.
        collection: names the keys, for people who look at them.

    Raises:
        StorageFull: if Redis is at its memory limit; what was added is removed.
        BackendUnavailable: if Redis does not answer.
        CorruptArtifact: if what Redis gives back is not what was added.
    """
    server = redis_server()
    where = VectorKeys(collection, secrets.token_hex(6), parameters.partitions)
    stored = RedisVectors(server, where, parameters, dims)
    body = json.dumps(
        {"collection": collection, "build": where.build, "partitions": where.partitions, "dims": dims}
    )
    RedisCatalog(server).begin(body)
    try:
        counts = np.zeros(where.partitions, dtype=np.int64)
        sample: list[tuple[Keys, Vectors]] = []
        for keys, vectors in batches:
            counts += np.bincount(where.partition_of(keys), minlength=where.partitions)
            for start in range(0, len(keys), ROWS_IN_FLIGHT):
                part = slice(start, start + ROWS_IN_FLIGHT)
                with work_until(time.perf_counter() + PATIENCE_S):
                    server.run(stored.build_commands(keys[part], vectors[part]))
            sample.append((keys[:: max(1, len(keys) // 16)], vectors[:: max(1, len(keys) // 16)]))
        stored.finish(counts.tolist())
        _compare(stored, sample)
    except TwinspireError:
        with suppress(TwinspireError):  # else a later sweep does it
            server.run([("UNLINK", key) for key in where.all()])
        raise
    (folder / REDIS_FILE).write_text(body)


def _compare(stored: RedisVectors, sample: list[tuple[Keys, Vectors]]) -> None:
    for keys, vectors in sample[:: max(1, 16 * len(sample) // SAMPLE)]:
        found, rows = stored.fetch(keys)
        if len(found) != len(keys) or np.abs(rows - vectors).max(initial=0.0) > SAMPLE_TOLERANCE:
            raise CorruptArtifact("Redis gives back other vectors than were added")
