"""Deleting a collection from Redis."""

from retrieval.redis_catalog import RedisCatalog
from retrieval.redis_items import RedisItems
from retrieval.redis_journal import RedisJournal
from retrieval.redis_server import redis_server


def remove_from_redis(collection: str) -> None:
    """Delete what Redis holds of a collection, but for the vectors of its versions: each is discarded alone.

    Raises:
        BackendUnavailable: if Redis does not answer; it can be done again.
    """
    server = redis_server()
    catalog = RedisCatalog(server)
    catalog.withdraw(collection)
    if partitions := catalog.partitions(collection):
        RedisItems(server, collection, partitions).delete_all()
        RedisJournal(server, collection).delete()
        catalog.forget_partitions(collection)
