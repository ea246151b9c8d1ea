"""Importing layer features of another system: one `.npy` a track, and a catalogue that tells about tracks."""

import hashlib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.artifacts import write_model
from encoders.encoder import LayeredEncoder
from encoders.loading import load_encoder
from encoders.stored_features import KIND, stored_features_card
from indexer.importers.csv import CsvTable
from indexer.importers.source import Reject
from indexer.progress import OnProgress, Progress, ignore_progress
from retrieval.collections import create_collection
from retrieval.content import Content, Modality
from retrieval.errors import IncompatibleModel, ModelNotFound, UnreadableSource
from retrieval.features import feature_set, pending_features, put_features
from retrieval.items import Item, upsert_items
from retrieval.registry import find_model, model_folder, next_model_version, register_model
from retrieval.workspace import Workspace

ID_COLUMNS = ("track_id", "track", "id", "file", "file_name", "filename", "name", "path")
SUBFOLDER = "aggregated"
URI = "features:"  # items have no sound here
MAX_VALUES = 64 * 8192  # of a track: more layers and width than any model has
MAX_SEGMENTS = 100_000
ENDINGS = frozenset(("npy", "wav", "flac", "mp3", "ogg", "opus", "m4a"))
_BATCH = 256


@dataclass(slots=True)
class FeaturesReport:
    """What an import did."""

    model: str = ""  # name@version of the encoder that the features belong to
    layers: int = 0
    width: int = 0
    imported: int = 0
    described: int = 0  # tracks that the catalogue tells about
    rejected: int = 0
    examples: list[tuple[str, str]] = field(default_factory=list)  # of what was rejected: file, reason


def import_features(
    ws: Workspace,
    collection: str,
    folder: Path,
    *,
    catalogue: Path | None = None,
    backbone: str = "",
    name: str = "imported-features",
    origin: str = "",
    on_progress: OnProgress = ignore_progress,
) -> FeaturesReport:
    """Import tracks with their features, as items without a sound.

    Arrays are read without running anything of them. One of three dimensions holds a track's windows: their
    mean is taken. Again, the import changes nothing.

    Args:
        ws: the workspace.
        collection: created if there is none.
        folder: holds `<track>.npy`, float32 [layers, width]; or a folder `aggregated` that does.
        catalogue: a CSV file; a column such as `track_id` names the track, the others become attributes.
        backbone: the encoder that made the features; empty = none is here, so one is registered that only
            stands for them.
        name: of that one.
        origin: what made the features, told for people; other origins are other features.
        on_progress: told of the stage "import", in tracks.

    Raises:
        UnreadableSource: if there are no arrays, or the catalogue is no table; nothing was written.
        IncompatibleModel: if the features have another shape than the backbone's.
        ModelNotFound: if there is no such backbone.
    """
    base = folder / SUBFOLDER if (folder / SUBFOLDER).is_dir() else folder
    files = sorted(base.glob("*.npy"))
    if not files:
        raise UnreadableSource(f"{folder.name}: expected files *.npy in it, or in its folder {SUBFOLDER!r}")
    told = _catalogue(catalogue) if catalogue else {}
    report = FeaturesReport()
    first = next((read for file in files if isinstance(read := read_array(file), np.ndarray)), None)
    if first is None:
        raise UnreadableSource(f"{folder.name}: none of its {len(files)} arrays can be read")
    encoder = _encoder(ws, backbone, name, origin, first.shape)
    report.model = f"{encoder.card.name}@{encoder.card.version}"
    report.layers, report.width = encoder.feature_shape
    create_collection(ws, collection)
    feature_set(ws, encoder.feature_fingerprint, *encoder.feature_shape)
    for start in range(0, len(files), _BATCH):
        _store(ws, collection, encoder, dict(_read(files[start : start + _BATCH], report)), told, report)
        on_progress(Progress("import", min(start + _BATCH, len(files)), len(files)))
    return report


def read_array(file: Path) -> NDArray[np.float32] | str:
    """Read the features of a track, shape (layers, width); or tell what is wrong with the file."""
    try:
        mapped = np.load(file, mmap_mode="r", allow_pickle=False)
        if mapped.ndim == 3 and 1 <= len(mapped) <= MAX_SEGMENTS:
            shape = mapped.shape[1:]
        elif mapped.ndim == 2:
            shape = mapped.shape
        else:
            return f"expected [layers, width], got {list(mapped.shape)}"
        if mapped.dtype.kind != "f" or not 0 < shape[0] * shape[1] <= MAX_VALUES:
            return f"expected floats, at most {MAX_VALUES} a track, got {mapped.dtype} {list(mapped.shape)}"
        values = mapped.mean(axis=0, dtype=np.float64) if mapped.ndim == 3 else mapped
        read = np.asarray(values, np.float32)
    except (OSError, ValueError, EOFError) as error:
        return f"not an array that can be read: {error}"[:200]
    return read if np.isfinite(read).all() else "it holds NaN or infinity"


def _read(files: list[Path], report: FeaturesReport) -> Iterator[tuple[str, NDArray[np.float32]]]:
    shape = (report.layers, report.width)
    for file in files:
        read = read_array(file)
        if isinstance(read, np.ndarray) and read.shape != shape:
            read = f"expected the shape {list(shape)}, got {list(read.shape)}"
        if isinstance(read, np.ndarray):
            yield unicodedata.normalize("NFC", file.stem), read
        else:
            report.rejected += 1
            report.examples = [*report.examples, (file.name, read)][:10]


def _store(
    ws: Workspace,
    collection: str,
    encoder: LayeredEncoder,
    arrays: Mapping[str, NDArray[np.float32]],
    told: Mapping[str, Mapping[str, Any]],
    report: FeaturesReport,
) -> None:
    if not arrays:
        return
    items = [
        Item(
            track,
            Modality.AUDIO,
            uri=f"{URI}{track}",
            attributes=dict(told.get(track, {})),
            content_hash=hashlib.sha256(values.tobytes()).hexdigest(),
        )
        for track, values in arrays.items()
    ]
    upsert_items(ws, collection, items)
    by_key = {
        key: arrays[track]
        for key, content in _lacking(ws, collection, encoder.feature_fingerprint)
        if (track := content.uri.removeprefix(URI)) in arrays
    }
    if by_key:
        put_features(ws, encoder.feature_fingerprint, list(by_key), np.stack(list(by_key.values())))
    report.imported += len(arrays)
    report.described += sum(track in told for track in arrays)


def _lacking(ws: Workspace, collection: str, fingerprint: str) -> Iterator[tuple[int, Content]]:
    after = 0
    while page := pending_features(
        ws, collection, fingerprint, limit=_BATCH, after_key=after, modalities=(Modality.AUDIO,)
    ):
        yield from page
        after = page[-1][0]


def _encoder(ws: Workspace, backbone: str, name: str, origin: str, shape: tuple[int, ...]) -> LayeredEncoder:
    """Find the encoder that the features belong to, or register one that stands for them."""
    if backbone:
        encoder = load_encoder(find_model(ws, backbone).folder)
        if not isinstance(encoder, LayeredEncoder) or encoder.feature_shape != shape:
            raise IncompatibleModel(
                f"the features have the shape {shape}, which model {backbone} does not make"
            )
        return encoder
    try:
        row = find_model(ws, name)
    except ModelNotFound:
        row = None
    card = stored_features_card(name, row.version if row else 1, origin, *shape)
    if row is None or row.fingerprint != card.fingerprint:
        version = next_model_version(ws, name)
        card = stored_features_card(name, version, origin, *shape)
        write_model(model_folder(ws, name, version), card, {})
        row = register_model(ws, name, version, KIND, card.fingerprint, {})
    encoder = load_encoder(row.folder)
    assert isinstance(encoder, LayeredEncoder)
    return encoder


def _catalogue(file: Path) -> dict[str, dict[str, Any]]:
    """Read what is told about tracks, by the names of their files without an ending."""
    table = CsvTable(file)
    column = next((name for name in ID_COLUMNS if name in table.header), None)
    if column is None:
        raise UnreadableSource(f"{file.name}: expected a column {', '.join(ID_COLUMNS)}")
    table.find_numbers(set(table.header) - {column})
    told: dict[str, dict[str, Any]] = {}
    for _, row in table.rows():
        if not isinstance(row, Reject) and (track := row.get(column)):
            told[_stem(str(track))] = {name: value for name, value in row.items() if name != column}
    return told


def _stem(track: str) -> str:
    """Return a track's name without folders and a file's ending.

    >>> _stem("audio/Op. 27 No. 2.wav"), _stem("Op. 27 No. 2")
    ('Op. 27 No. 2', 'Op. 27 No. 2')
    """
    name = unicodedata.normalize("NFC", track.strip()).replace("\\", "/").rpartition("/")[2]
    stem, dot, ending = name.rpartition(".")
    return stem if dot and ending.lower() in ENDINGS else name
