"""Layer features of another system become items that a layer fusion trains on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from encoders.encoder import LayeredEncoder
from encoders.loading import load_encoder
from encoders.stored_features import StoredFeatures
from encoders.training.belonging import Belonging
from encoders.training.fusion_config import LayerFusionConfig
from encoders.training.layer_fusion import train_layer_fusion
from indexer.features_import import import_features
from indexer.indexing import index_collection
from retrieval.content import Content, Modality
from retrieval.errors import (
    IncompatibleModel,
    InvalidInput,
    ModalityNotServed,
    ModelNotFound,
    UnreadableSource,
)
from retrieval.features import read_features
from retrieval.items import get_items
from retrieval.registry import find_model
from retrieval.workspace import Workspace

SHAPE = (3, 8)
Write = Callable[..., Path]


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "ws", create=True)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a folder as the old system kept it."""

    def made(tracks: int = 4, **files: np.ndarray) -> Path:
        folder = tmp_path / "old" / "aggregated"
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(tracks):
            random = np.random.default_rng(number)
            values = random.normal(size=SHAPE).astype(np.float32)
            values[1, number % 2] += 3
            np.save(folder / f"track {number}.npy", values)
        for name, values in files.items():
            np.save(folder / f"{name}.npy", values)
        lines = [
            f"track {number}.wav,{['Bach', 'Ravel'][number % 2]},{1700 + number}" for number in range(tracks)
        ]
        (folder.parent / "catalogue.csv").write_text("\n".join(["file,composer,year", *lines]) + "\n")
        return folder.parent

    return made


def stored(ws: Workspace, model: str) -> np.ndarray:
    encoder = load_encoder(find_model(ws, model).folder)
    assert isinstance(encoder, LayeredEncoder)
    return np.concatenate([rows for _, rows in read_features(ws, "c", encoder.feature_fingerprint)])


def test_each_track_is_an_item_with_what_the_catalogue_tells(ws: Workspace, write: Write) -> None:
    folder = write()

    report = import_features(ws, "c", folder, catalogue=folder / "catalogue.csv")

    assert (report.imported, report.described, report.rejected) == (4, 4, 0)
    assert get_items(ws, "c", ["track 1"])[0].attributes == {"composer": "Ravel", "year": 1701}


def test_the_features_are_stored_as_they_were(ws: Workspace, write: Write) -> None:
    folder = write()

    report = import_features(ws, "c", folder)

    expected = np.stack([np.load(folder / "aggregated" / f"track {number}.npy") for number in range(4)])
    np.testing.assert_array_equal(stored(ws, report.model), expected)


def test_windows_are_averaged(ws: Workspace, write: Write) -> None:
    windows = np.stack([np.ones(SHAPE), np.full(SHAPE, 3.0)]).astype(np.float32)

    report = import_features(ws, "c", write(0, windowed=windows))

    np.testing.assert_array_equal(stored(ws, report.model), np.full((1, *SHAPE), 2.0))


def test_again_it_changes_nothing(ws: Workspace, write: Write) -> None:
    first, again = (import_features(ws, "c", write()) for _ in range(2))

    assert first.model == again.model
    assert len(stored(ws, again.model)) == 4


def test_a_changed_track_replaces_the_old_one(ws: Workspace, write: Write) -> None:
    import_features(ws, "c", write())
    folder = write()
    np.save(folder / "aggregated" / "track 2.npy", np.full(SHAPE, 9, np.float32))

    report = import_features(ws, "c", folder)

    features = stored(ws, report.model)
    assert len(features) == 4
    assert (features == 9).all(axis=(1, 2)).sum() == 1


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (np.array([{"a": 1}], dtype=object), "not an array"),
        (np.full(SHAPE, np.nan, np.float32), "NaN"),
        (np.zeros((2, 8), np.float32), "expected the shape"),
        (np.zeros(8, np.float32), "expected \\[layers, width\\]"),
        (np.zeros(SHAPE, np.int64), "expected floats"),
    ],
)
def test_a_bad_array_is_told_and_the_others_are_imported(
    ws: Workspace, write: Write, bad: np.ndarray, reason: str
) -> None:
    report = import_features(ws, "c", write(3, zzz=bad))

    assert (report.imported, report.rejected) == (3, 1)
    name, told = report.examples[0]
    assert name == "zzz.npy"
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(told)


def test_a_folder_without_arrays_is_refused(ws: Workspace, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match="expected files"):
        import_features(ws, "c", tmp_path)


def test_a_backbone_that_is_not_there_is_refused(ws: Workspace, write: Write) -> None:
    with pytest.raises(ModelNotFound):
        import_features(ws, "c", write(), backbone="mert")


def test_a_backbone_of_another_shape_is_refused(ws: Workspace, write: Write) -> None:
    import_features(ws, "c", write(), name="three")

    with pytest.raises(IncompatibleModel):
        import_features(ws, "d", write(0, other=np.zeros((5, 8), np.float32)), backbone="three")


def test_what_stands_for_features_encodes_no_sound(ws: Workspace, write: Write) -> None:
    report = import_features(ws, "c", write())
    encoder = load_encoder(find_model(ws, report.model).folder)
    assert isinstance(encoder, StoredFeatures)

    with pytest.raises(ModalityNotServed, match="add the model that made them"):
        encoder.encode_queries([Content(modality=Modality.AUDIO, decoded=np.zeros(9, np.float32))])


def test_a_fusion_is_trained_and_indexed_without_the_frozen_model(ws: Workspace, write: Write) -> None:
    folder = write(24)
    report = import_features(ws, "c", folder, catalogue=folder / "catalogue.csv")
    row = find_model(ws, report.model)
    backbone = load_encoder(row.folder)
    assert isinstance(backbone, LayeredEncoder)

    trained = train_layer_fusion(
        ws,
        "c",
        LayerFusionConfig(dims=4, epochs=3, folds=3, batch_size=8),
        Belonging(labels="composer"),
        name="fused",
        backbone=backbone,
        backbone_folder=row.folder,
    )
    index = index_collection(ws, "c", "fused", backend="exact")

    assert trained.items == index.count == 24


def test_a_catalogue_without_names_is_refused(ws: Workspace, write: Write) -> None:
    folder = write()
    (folder / "catalogue.csv").write_text("composer\nBach\n")

    with pytest.raises(InvalidInput, match="expected a column"):
        import_features(ws, "c", folder, catalogue=folder / "catalogue.csv")
