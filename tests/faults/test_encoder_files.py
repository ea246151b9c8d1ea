"""Faults of model files: found by sha256 before anything parses them."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from encoders.artifacts import write_model
from encoders.card import CARD_FORMAT, EncoderCard
from encoders.loading import load_encoder
from retrieval.content import Content
from retrieval.errors import CorruptArtifact, IncompatibleModel, NewerFormat, TwinspireError
from tests.faults.files import (
    CARD,
    TENSORS,
    VOCABULARY,
    Damage,
    empty,
    flip_bit,
    pickles,
    tiny_encoder,
    truncate,
)

DAMAGES = [truncate, empty, flip_bit]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_encoder(tmp_path / "tiny" / "1")
    return tmp_path / "tiny" / "1"


def test_the_sound_encoder_works(folder: Path) -> None:
    vectors = load_encoder(folder).encode_queries([Content(text="red green")])

    assert vectors.shape == (1, 4)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", [TENSORS, VOCABULARY, CARD])
def test_a_damaged_model_file_is_data_loss(folder: Path, name: str, damage: Damage) -> None:
    damage(folder / name)

    with pytest.raises(CorruptArtifact):
        load_encoder(folder)


@pytest.mark.parametrize("name", [TENSORS, VOCABULARY, CARD])
def test_a_missing_model_file_is_data_loss(folder: Path, name: str) -> None:
    (folder / name).unlink()

    with pytest.raises(CorruptArtifact, match=name.split(".")[0]):
        load_encoder(folder)


@pytest.mark.parametrize("name", [TENSORS, VOCABULARY, CARD])
def test_a_folder_in_the_place_of_a_model_file_is_data_loss(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()

    with pytest.raises(CorruptArtifact):
        load_encoder(folder)


def test_a_changed_dimension_on_the_card_is_data_loss(folder: Path) -> None:
    body = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(body | {"dims": 8}))

    with pytest.raises(CorruptArtifact, match="fingerprint"):
        load_encoder(folder)


def test_a_newer_card_asks_for_an_upgrade(folder: Path) -> None:
    body = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(body | {"format": CARD_FORMAT + 1, "sparkles": True}))

    with pytest.raises(NewerFormat, match="upgrade"):
        load_encoder(folder)


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "3", '{"format": 1}', '{"format": "x"}', "{", "[" * 100_000]
)
def test_json_that_is_no_card_is_data_loss(folder: Path, text: str) -> None:
    (folder / CARD).write_text(text)

    with pytest.raises(CorruptArtifact):
        load_encoder(folder)


@pytest.mark.parametrize("shape", [(5, 8), (4, 4), (5,), (0, 4)], ids=lambda shape: "x".join(map(str, shape)))
def test_a_state_dict_of_another_shape_does_not_fit(tmp_path: Path, shape: tuple[int, ...]) -> None:
    tiny_encoder(tmp_path, **{"both.table": np.ones(shape, dtype=np.float32)})

    with pytest.raises(IncompatibleModel, match=r"both\.table: expected the shape \(5, 4\)"):
        load_encoder(tmp_path)


def test_a_kind_that_nobody_knows_does_not_fit(tmp_path: Path) -> None:
    card = tiny_encoder(tmp_path)
    write_model(tmp_path, replace(card, kind="crystal_ball"), {})

    with pytest.raises(IncompatibleModel, match="crystal_ball"):
        load_encoder(tmp_path)


@pytest.mark.parametrize("name", [TENSORS, VOCABULARY])
def test_a_pickle_in_the_place_of_a_model_file_never_runs(folder: Path, name: str) -> None:
    nest = folder / "nest"

    for pickled in pickles(nest).values():
        forge(folder, name, pickled)
        with pytest.raises(TwinspireError):
            load_encoder(folder)

    assert not nest.exists()


def test_a_pickle_in_the_place_of_a_card_never_runs(folder: Path) -> None:
    nest = folder / "nest"

    for pickled in pickles(nest).values():
        (folder / CARD).write_bytes(pickled)
        with pytest.raises(CorruptArtifact):
            load_encoder(folder)

    assert not nest.exists()


@pytest.mark.parametrize(
    "header",
    [
        b"\xff" * 8,
        (1 << 40).to_bytes(8, "little"),
        (2).to_bytes(8, "little") + b"{}",
        (4).to_bytes(8, "little") + b"null",
        (9).to_bytes(8, "little") + b'{"a": 1} ',
        (60).to_bytes(8, "little") + b'{"both.table":{"dtype":"F32","shape":[9e9],"data_offsets":[0,1]}}',
    ],
)
def test_a_forged_tensor_header_reads_nothing_beyond_the_file(folder: Path, header: bytes) -> None:
    forge(folder, TENSORS, header)

    with pytest.raises(TwinspireError):
        load_encoder(folder)


def forge(folder: Path, name: str, content: bytes) -> None:
    """Replace a file, and make the card vouch for it, as somebody with bad intentions would."""
    (folder / name).write_bytes(content)
    card = EncoderCard.from_json((folder / CARD).read_text())
    digests = {**card.files, name: hashlib.sha256(content).hexdigest()}
    (folder / CARD).write_text(replace(card, files=digests).to_json())
