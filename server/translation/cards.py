"""Encoder cards, versions and capabilities: to protobuf."""

from encoders.card import EncoderCard
from protos.twinspire.v1 import encoders_pb2, server_pb2
from retrieval.index import Capabilities
from server.translation.items import attributes_to


def card_to(card: EncoderCard, *, live: bool) -> encoders_pb2.EncoderCard:
    """Translate an encoder card."""
    message = encoders_pb2.EncoderCard(
        name=card.name,
        version=card.version,
        kind=card.kind,
        modalities=card.modalities,
        dims=card.dims,
        fingerprint=card.fingerprint,
        max_words=card.max_words,
        training_data_digest=card.training_data_digest,
        live=live,
    )
    if card.metrics:
        message.metrics.CopyFrom(attributes_to(card.metrics))
    return message


def backend_to(
    capabilities: Capabilities, version: str, database: server_pb2.DatabaseState | None = None
) -> server_pb2.Backend:
    """Translate what a backend can do."""
    return server_pb2.Backend(
        name=capabilities.backend,
        version=version,
        filtered_search=capabilities.filtered_search,
        exact_search=capabilities.exact_search,
        returns_vectors=capabilities.returns_vectors,
        memory_mapped=capabilities.memory_mapped,
        gpu=capabilities.gpu,
        database=database,
    )
