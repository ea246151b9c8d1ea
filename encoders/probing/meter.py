"""Proxy targets of a collection's sounds, kept beside their features and made by the same job."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from encoders.card import EncoderCard
from encoders.encoder import LayeredEncoder
from encoders.media.specs import DecodeSpec
from encoders.probing.targets import FINGERPRINT, SPEC, TARGETS, measure
from retrieval.content import Content, Modality
from retrieval.errors import ModelNotFound, Unimplemented
from retrieval.features import read_features
from retrieval.workspace import Workspace


class TargetMeter(LayeredEncoder):
    """Measures targets as a frozen model of one layer, whose features they are.

    So the job that extracts features makes them too: `indexer.encoding.extract_pending(ws, collection,
    TargetMeter(), ...)` decodes ahead in limited processes, goes on where it was interrupted, and sets
    aside what cannot be read. It makes no vectors: fifteen numbers of different units are no direction.
    """

    card: ClassVar = EncoderCard(
        kind="proxy_targets",
        name="proxy-targets",
        version=1,
        modalities=(Modality.AUDIO,),
        dims=len(TARGETS),
        max_words=0,
        architecture={"definition": FINGERPRINT},
    )
    decode_specs: ClassVar[Mapping[Modality, DecodeSpec]] = {Modality.AUDIO: SPEC}
    feature_fingerprint: ClassVar = FINGERPRINT
    feature_shape: ClassVar = (1, len(TARGETS))

    def extract(self, contents: Sequence[Content]) -> NDArray[np.float32]:
        """Measure sounds that are decoded as `decode_specs` asks: shape (n, 1, 15)."""
        measured = np.empty((len(contents), *self.feature_shape), dtype=np.float32)
        for place, content in enumerate(contents):
            assert content.decoded is not None
            measured[place, 0] = measure(content.decoded)
        return measured

    def truncates(self, contents: Sequence[Content]) -> list[bool]:
        """Tell which sounds are measured only in part."""
        whole = SPEC.sample_rate * SPEC.max_seconds
        return [content.decoded is not None and len(content.decoded) >= whole for content in contents]

    def fuse(self, features: NDArray[np.float32]) -> NoReturn:
        """Refuse: targets are no vector."""
        raise Unimplemented("proxy targets are measured, not searched")

    def encode_items(self, contents: Sequence[Content]) -> NoReturn:
        """Refuse: targets are no vector."""
        self.fuse(self.extract(contents))

    encode_queries = encode_items


def targets_of(ws: Workspace, collection: str) -> dict[int, NDArray[np.float32]]:
    """Return the proxy targets of each segment that was measured: key -> shape (15,), as in TARGETS.

    Raises:
        CollectionNotFound: if there is no such collection.
    """
    try:
        return {
            int(key): values[0]
            for keys, features in read_features(ws, collection, FINGERPRINT)
            for key, values in zip(keys, features, strict=True)
        }
    except ModelNotFound:  # nothing was ever measured
        return {}
