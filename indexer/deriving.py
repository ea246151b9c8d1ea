"""Vectors that are made from those of another encoder, where these are stored: nothing is decoded again."""

from functools import partial

from encoders.encoder import DerivedEncoder
from retrieval.content import Modality
from retrieval.embeddings import embeddings_of, put_embeddings
from retrieval.errors import ModelNotFound
from retrieval.segments import pending_segments
from retrieval.workspace import Workspace

BATCH_SEGMENTS = 2048


def derive_pending(ws: Workspace, collection: str, encoder: DerivedEncoder, *, up_to_key: int) -> int:
    """Give a vector to every segment that has none but has one of the encoder's base, up to a key.

    Args:
        ws: the workspace.
        collection: whose segments.
        encoder: known through `encoder_row`.
        up_to_key: segments that came later are left to the next build.

    Returns:
        How many vectors were stored.
    """
    stored = 0
    for modality, base in encoder.bases.items():
        stored += _derive(ws, collection, encoder, modality, base, up_to_key)
    return stored


def _derive(
    ws: Workspace, collection: str, encoder: DerivedEncoder, modality: Modality, base: str, up_to_key: int
) -> int:
    fingerprint = encoder.card.fingerprint
    pending = partial(pending_segments, ws, collection, fingerprint, modalities=(modality,))
    stored = after_key = 0
    while found := [key for key, _ in pending(limit=BATCH_SEGMENTS, after_key=after_key) if key <= up_to_key]:
        after_key = found[-1]
        try:
            keys, vectors = embeddings_of(ws, base, found)
        except ModelNotFound:
            break
        if len(keys):
            stored += put_embeddings(ws, fingerprint, keys, encoder.derive(modality, vectors))
    return stored
