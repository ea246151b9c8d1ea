"""Keeping what was fitted: a registered model that reads aspects, and what it reads from each segment."""

from collections.abc import Mapping

import numpy as np

from encoders.aspects import KIND, AspectReader, model_name, save_reader
from encoders.card import EncoderCard
from encoders.encoder import LayeredEncoder
from encoders.probing.aspects import Readouts
from encoders.probing.targets import FINGERPRINT, TARGET_NAMES
from retrieval.content import Modality
from retrieval.features import feature_set, put_features
from retrieval.index import Keys
from retrieval.registry import model_folder, next_model_version, register_model
from retrieval.workspace import Workspace


def save_aspects(
    ws: Workspace,
    collection: str,
    encoder: LayeredEncoder,
    readouts: Readouts,
    aspects: Mapping[str, list[str]],
    *,
    metrics: Mapping[str, float],
    training: Mapping[str, object],
    data_digest: str,
) -> AspectReader:
    """Write and register the next version of a collection's aspects.

    Args:
        ws: the workspace.
        collection: that was probed.
        encoder: whose features were.
        readouts: from features to targets.
        aspects: the known targets of each.
        metrics: of the probing, for the card and the registry.
        training: how it was fitted, for the card.
        data_digest: of the rows.
    """
    name = model_name(collection)
    version = next_model_version(ws, name)
    layers, width = encoder.feature_shape
    card = EncoderCard(
        kind=KIND,
        name=name,
        version=version,
        modalities=(Modality.AUDIO,),
        dims=len(TARGET_NAMES),
        max_words=0,
        preprocessing={"targets": FINGERPRINT},
        architecture={
            "features": encoder.feature_fingerprint,
            "layers": layers,
            "width": width,
            "targets": list(TARGET_NAMES),
            "aspects": {aspect: list(targets) for aspect, targets in aspects.items()},
        },
        training_data_digest=data_digest,
        training={"collection": collection, **training},
        metrics=dict(metrics),
    )
    reader = save_reader(model_folder(ws, name, version), card, readouts.weights, readouts.bias)
    register_model(ws, name, version, KIND, reader.card.fingerprint, metrics)
    return reader


def store_readings(ws: Workspace, reader: AspectReader, keys: Keys, features: np.ndarray) -> None:
    """Keep what a reader reads from segments, so that servers need not read their features.

    Args:
        ws: the workspace.
        reader: registered.
        keys: of the segments, shape (n,).
        features: shape (n, layers, width).
    """
    fingerprint = reader.card.fingerprint
    feature_set(ws, fingerprint, 1, reader.card.dims)
    put_features(ws, fingerprint, keys, reader.read(features)[:, None])
