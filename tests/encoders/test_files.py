"""Damaged, forged and foreign model files are refused, never served and never run."""

import hashlib
import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from encoders.card import CARD_FILE, EncoderCard, read_card
from encoders.loading import load_encoder
from encoders.tensors import map_tensors
from encoders.two_tower.text_encoder import TENSORS_FILE
from encoders.two_tower.vocabulary import VOCABULARY_FILE
from retrieval.errors import CorruptArtifact, IncompatibleModel, NewerFormat
from tests.encoders.conftest import KINDS, MakeFolder


def forge(folder: Path, file: str, content: bytes) -> None:
    """Replace a file and put its new sha256 on the card, as a careless tool would."""
    (folder / file).write_bytes(content)
    card = EncoderCard.from_json((folder / CARD_FILE).read_text())
    files = {**card.files, file: hashlib.sha256(content).hexdigest()}
    (folder / CARD_FILE).write_text(replace(card, files=files).to_json())


@pytest.mark.parametrize("file", [TENSORS_FILE, VOCABULARY_FILE])
@pytest.mark.parametrize("kind", ["mlp", "gru"])
def test_a_flipped_bit_is_found(kind: str, file: str, make_folder: MakeFolder) -> None:
    folder = make_folder(kind)
    content = bytearray((folder / file).read_bytes())
    content[-3] ^= 1
    (folder / file).write_bytes(content)

    with pytest.raises(CorruptArtifact, match="sha256"):
        load_encoder(folder)


@pytest.mark.parametrize("file", [TENSORS_FILE, VOCABULARY_FILE, CARD_FILE])
def test_a_truncated_or_missing_file_is_found(file: str, make_folder: MakeFolder) -> None:
    folder = make_folder()
    content = (folder / file).read_bytes()

    (folder / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(CorruptArtifact):
        load_encoder(folder)
    (folder / file).unlink()
    with pytest.raises(CorruptArtifact):
        load_encoder(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_another_shape_are_incompatible(kind: str, make_folder: MakeFolder) -> None:
    folder = make_folder(kind)
    tensors = load_file(folder / TENSORS_FILE)
    name = next(key for key in tensors if key.endswith("table"))
    tensors[name] = np.ascontiguousarray(tensors[name][:, :-1])
    forge(folder, TENSORS_FILE, save(tensors))

    with pytest.raises(IncompatibleModel):
        load_encoder(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_missing_weights_are_incompatible(kind: str, make_folder: MakeFolder) -> None:
    folder = make_folder(kind)
    tensors = load_file(folder / TENSORS_FILE)
    del tensors[next(key for key in tensors if "bias" in key)]
    forge(folder, TENSORS_FILE, save(tensors))

    with pytest.raises(IncompatibleModel):
        load_encoder(folder)


def test_a_shorter_vocabulary_is_incompatible(make_folder: MakeFolder) -> None:
    folder = make_folder()
    forge(folder, VOCABULARY_FILE, b"[PAD]\n[UNK]\nred\n")

    with pytest.raises(IncompatibleModel, match="the vocabulary has 3"):
        load_encoder(folder)


@pytest.mark.parametrize(
    "content", [b"", b"[PAD]\n", b"red\ngreen\n", b"[PAD]\n[UNK]\nred\nred\n", b"\xff\xfe"]
)
def test_what_is_no_vocabulary_is_corrupt(content: bytes, make_folder: MakeFolder) -> None:
    folder = make_folder()
    forge(folder, VOCABULARY_FILE, content)

    with pytest.raises(CorruptArtifact):
        load_encoder(folder)


def test_a_later_card_asks_for_an_upgrade(make_folder: MakeFolder) -> None:
    folder = make_folder()
    card = json.loads((folder / CARD_FILE).read_text())
    (folder / CARD_FILE).write_text(json.dumps(card | {"format": 99}))

    with pytest.raises(NewerFormat, match="upgrade"):
        read_card(folder)


def test_an_edited_card_does_not_match_its_fingerprint(make_folder: MakeFolder) -> None:
    folder = make_folder()
    card = json.loads((folder / CARD_FILE).read_text())
    (folder / CARD_FILE).write_text(json.dumps(card | {"max_words": 7}))

    with pytest.raises(CorruptArtifact, match="fingerprint"):
        read_card(folder)


def test_an_unknown_kind_is_incompatible(make_folder: MakeFolder) -> None:
    folder = make_folder()
    card = EncoderCard.from_json((folder / CARD_FILE).read_text())
    (folder / CARD_FILE).write_text(replace(card, kind="quantum").to_json())

    with pytest.raises(IncompatibleModel, match="quantum"):
        load_encoder(folder)


class Canary:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.file,)


@pytest.mark.parametrize("file", [TENSORS_FILE, VOCABULARY_FILE, CARD_FILE])
def test_a_pickle_in_place_of_a_file_is_never_run(file: str, make_folder: MakeFolder, tmp_path: Path) -> None:
    folder, sung = make_folder(), tmp_path / "sung"
    if file == CARD_FILE:
        (folder / file).write_bytes(pickle.dumps(Canary(sung)))
    else:
        forge(folder, file, pickle.dumps(Canary(sung)))

    with pytest.raises(CorruptArtifact):
        load_encoder(folder)
    assert not sung.exists()


@pytest.mark.parametrize(
    "header",
    [
        b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,64]}}',
        b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}',
        b'{"a":{"dtype":"F32","shape":[-1,-4],"data_offsets":[0,16]}}',
        b'{"a":{"dtype":"F64","shape":[2],"data_offsets":[0,16]}}',
        b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[-16,0]}}',
        b'{"a":7}',
        b"[]",
        b"nonsense",
    ],
)
def test_a_lying_tensor_header_is_refused(header: bytes, tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))

    with pytest.raises(CorruptArtifact):
        map_tensors(file)
