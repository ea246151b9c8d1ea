"""Deleting a collection from Redis."""

from retrieval.redis_catalog import RedisCatalog
from retrieval.redis_items import RedisItems
from retrieval.redis_journal import RedisJournal
from retrieval.redis_server import redis_server


def withdraw(collection: str) -> None:
    """Say that a collection was deleted: servers without a database let go of it.

    Raises:
        BackendUnavailable: if Redis does not answer.
    """
    RedisCatalog(redis_server()).withdraw(collection)


def remove_items(collection: str) -> None:
    """Delete what Redis holds of a collection, but for its versions: each is discarded alone.

    Raises:
        BackendUnavailable: if Redis does not answer; it can be done again.
    """
    server = redis_server()
    catalog = RedisCatalog(server)
    if partitions := catalog.partitions(collection):
        RedisItems(server, collection, partitions).delete_all()
        RedisJournal(server, collection).delete()
        catalog.forget_partitions(collection)
