"""Where things lie in Redis: a collection is spread over partitions, each within one slot of a cluster."""

import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from retrieval.index import Keys

SLOTS = 16384
PREFIX = "twinspire"
REDIS_FILE = "redis.json"  # in the folder of a version: says where in Redis its vectors are


def slot_of(tag: str) -> int:
    """Return the cluster slot of a hash tag.

    >>> slot_of("foo")
    12182
    """
    return binascii.crc_hqx(tag.encode(), 0) % SLOTS


@lru_cache(maxsize=1024)
def partition_tags(collection: str, partitions: int) -> tuple[str, ...]:
    """Choose hash tags whose slots are evenly apart, so that each node of a cluster gets its share.

    The same for ever: they follow from the name and the number. Collections begin at different slots.
    """
    begin, width = slot_of(collection), SLOTS / partitions
    tags = []
    for partition in range(partitions):
        middle = (begin + int(partition * width)) % SLOTS
        near = max(1, int(width / 8))
        tags.append(_tag_near(collection, middle, near))
    return tuple(tags)


def _tag_near(collection: str, slot: int, distance: int) -> str:
    number = 0
    while True:
        tag = f"{collection}.{number}"
        apart = abs(slot_of(tag) - slot)
        if min(apart, SLOTS - apart) <= distance:
            return tag
        number += 1


@dataclass(frozen=True, slots=True)
class VectorKeys:
    """The Redis keys of one build of an index: new ones for each build, so that none is changed in place."""

    collection: str
    build: str  # a name that no other build has
    partitions: int

    def _key(self, partition: int, what: str) -> str:
        tag = partition_tags(self.collection, self.partitions)[partition]
        return f"{PREFIX}:{self.collection}:{{{tag}}}:{self.build}:{what}"

    def vectors(self, partition: int) -> str:
        """The vector set of a partition."""
        return self._key(partition, "vectors")

    def floats(self, partition: int) -> str:
        """The hash with the vectors as they were before quantisation."""
        return self._key(partition, "floats")

    def state(self, partition: int) -> str:
        """The hash with what the partition should hold: `count`."""
        return self._key(partition, "state")

    def added(self, partition: int) -> str:
        """The sorted set of the keys that were added after the build."""
        return self._key(partition, "added")

    def words(self, partition: int) -> str:
        """The hash of a part of all tokens, each with the texts that hold it."""
        return self._key(partition, "words")

    def texts(self, partition: int) -> str:
        """The hash of what `words` says of the partition's items: their rowids, lengths and segments."""
        return self._key(partition, "texts")

    def all(self) -> Iterator[str]:
        """Every Redis key of the build."""
        for partition in range(self.partitions):
            yield self.vectors(partition)
            yield self.floats(partition)
            yield self.state(partition)
            yield self.added(partition)
            yield self.words(partition)
            yield self.texts(partition)

    def partition_of(self, keys: Keys) -> NDArray[np.int64]:
        """Tell in which partition each segment's vector lies, shape (n,)."""
        return np.asarray(keys, dtype=np.int64) % self.partitions


def vector_keys(body: bytes | str) -> VectorKeys:
    """Read `redis.json`."""
    told = json.loads(body)
    return VectorKeys(told["collection"], told["build"], told["partitions"])
