"""How a collection is spread over the slots of a cluster."""

from collections import Counter

import numpy as np
import pytest
from redis.crc import key_slot

from retrieval.redis_layout import SLOTS, VectorKeys, partition_tags, slot_of

COLLECTIONS = ["c", "papers", "Ünïcode", "a" * 128, *(f"collection-{number}" for number in range(20))]


def slots_of(collection: str, partitions: int) -> list[int]:
    return sorted(slot_of(tag) for tag in partition_tags(collection, partitions))


@pytest.mark.parametrize("partitions", [1, 2, 3, 6, 16, 64])
def test_slots_lie_evenly_apart(partitions: int) -> None:
    for collection in COLLECTIONS:
        slots = slots_of(collection, partitions)
        gaps = np.diff([*slots, slots[0] + SLOTS])

        assert gaps.min() > 0.7 * SLOTS / partitions - 1
        assert gaps.max() < 1.3 * SLOTS / partitions + 1


@pytest.mark.parametrize("nodes", [2, 3, 5, 8])
def test_every_node_gets_its_share(nodes: int) -> None:
    for collection in COLLECTIONS:
        shares = Counter(slot * nodes // SLOTS for slot in slots_of(collection, 8 * nodes))

        assert set(shares) == set(range(nodes))
        assert max(shares.values()) <= 9
        assert min(shares.values()) >= 7


def test_collections_begin_at_different_slots() -> None:
    assert len({partition_tags(collection, 1)[0] for collection in COLLECTIONS}) == len(COLLECTIONS)
    assert len({slots_of(collection, 3)[0] for collection in COLLECTIONS}) > len(COLLECTIONS) // 2


def test_tags_follow_from_name_and_number_alone() -> None:
    assert partition_tags("papers", 3) == ("papers.10", "papers.0", "papers.22")


def test_redis_finds_the_same_slot_of_a_key_as_its_tag_has() -> None:
    where = VectorKeys("papers", "b1", 8)

    for partition, tag in enumerate(partition_tags("papers", 8)):
        keys = [where.vectors(partition), where.floats(partition), where.state(partition)]
        assert {key_slot(key.encode()) for key in keys} == {slot_of(tag)}


def test_keys_are_spread_evenly_over_partitions() -> None:
    where = VectorKeys("papers", "b1", 7)

    counts = np.bincount(where.partition_of(np.arange(1, 7001)), minlength=7)

    assert counts.tolist() == [1000] * 7
