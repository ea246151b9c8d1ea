"""Faults of files that training reads: word vectors that others made, and its own checkpoints."""

import pickle
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from gensim.models import KeyedVectors
from safetensors.numpy import save_file

from encoders.training.checkpoint import CheckpointFile
from encoders.training.word_vectors import read_word_vectors
from retrieval.errors import UnreadableSource
from tests.faults.files import Canary, Damage, empty, pickles, truncate

WORDS = ["red", "green", "blue"]
NAMES = ["vectors.kv", "vectors.bin", "vectors.txt", "vectors.txt.gz", "model.safetensors"]


def keyed_vectors(file: Path) -> Path:
    vectors = KeyedVectors(vector_size=4)
    vectors.add_vectors(WORDS, np.eye(3, 4, dtype=np.float32))
    vectors.save(str(file))
    return file


def word2vec(file: Path) -> Path:
    vectors = KeyedVectors(vector_size=4)
    vectors.add_vectors(WORDS, np.eye(3, 4, dtype=np.float32))
    vectors.save_word2vec_format(str(file), binary=True)
    return file


def static(file: Path) -> Path:
    save_file({"embeddings": np.eye(3, 4, dtype=np.float32)}, file)
    words = ", ".join(f'"{word}": {row}' for row, word in enumerate(WORDS))
    file.with_name("tokenizer.json").write_text(f'{{"model": {{"type": "WordPiece", "vocab": {{{words}}}}}}}')
    return file


MAKERS: dict[str, Callable[[Path], Path]] = {
    "vectors.kv": keyed_vectors,
    "vectors.bin": word2vec,
    "model.safetensors": static,
}


@pytest.mark.parametrize("name", MAKERS)
def test_sound_word_vectors_are_read(tmp_path: Path, name: str) -> None:
    assert list(read_word_vectors(MAKERS[name](tmp_path / name), WORDS).entries) == WORDS


@pytest.mark.parametrize("damage", [truncate, empty])
@pytest.mark.parametrize("name", MAKERS)
def test_damaged_word_vectors_are_refused(tmp_path: Path, name: str, damage: Damage) -> None:
    file = MAKERS[name](tmp_path / name)
    damage(file)

    with pytest.raises(UnreadableSource):
        read_word_vectors(file, WORDS)


@pytest.mark.parametrize("name", MAKERS)
def test_word_vectors_of_random_damage_are_read_or_refused(tmp_path: Path, name: str) -> None:
    file = MAKERS[name](tmp_path / name)
    sound, chance = file.read_bytes(), random.Random(1)

    for _ in range(300):
        content = bytearray(sound)
        for _ in range(chance.choice((1, 1, 3))):
            content[chance.randrange(len(content))] = chance.randrange(256)
        file.write_bytes(content)
        try:
            read_word_vectors(file, WORDS)
        except UnreadableSource:
            continue


@pytest.mark.parametrize("name", NAMES)
def test_a_pickle_in_the_place_of_word_vectors_never_runs(tmp_path: Path, name: str) -> None:
    nest, file = tmp_path / "nest", tmp_path / name

    for pickled in pickles(nest).values():
        file.write_bytes(pickled)
        with pytest.raises(UnreadableSource):
            read_word_vectors(file, WORDS)

    assert not nest.exists()


def test_a_canary_inside_keyed_vectors_never_runs(tmp_path: Path) -> None:
    nest, file = tmp_path / "nest", tmp_path / "vectors.kv"
    vectors = KeyedVectors(vector_size=4)
    vectors.add_vectors(WORDS, np.eye(3, 4, dtype=np.float32))
    vectors.lifecycle_events = [Canary(nest)]
    file.write_bytes(pickle.dumps(vectors))

    with pytest.raises(UnreadableSource, match="mkdir"):
        read_word_vectors(file, WORDS)

    assert not nest.exists()


def test_an_array_of_objects_beside_keyed_vectors_never_runs(tmp_path: Path) -> None:
    nest, file = tmp_path / "nest", tmp_path / "vectors.kv"
    vectors = KeyedVectors(vector_size=4)
    vectors.add_vectors(WORDS, np.eye(3, 4, dtype=np.float32))
    vectors.save(str(file), sep_limit=1)
    np.save(tmp_path / "vectors.kv.vectors.npy", np.array([Canary(nest)] * 3, dtype=object))

    with pytest.raises(UnreadableSource):
        read_word_vectors(file, WORDS)

    assert not nest.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickle_in_the_place_of_a_checkpoint_never_runs(tmp_path: Path) -> None:
    nest, checkpoint = tmp_path / "nest", CheckpointFile(tmp_path / "checkpoint.pt")

    for pickled in pickles(nest).values():
        checkpoint.path.write_bytes(pickled)
        assert checkpoint.read() is None

    assert not nest.exists()


@pytest.mark.parametrize("damage", [truncate, empty])
def test_a_damaged_checkpoint_is_none(tmp_path: Path, damage: Damage) -> None:
    checkpoint = CheckpointFile(tmp_path / "checkpoint.pt")
    checkpoint.write({"step": 3, "weights": torch.ones(100)})
    damage(checkpoint.path)

    assert checkpoint.read() is None


def test_a_checkpoint_of_random_damage_is_read_or_none(tmp_path: Path) -> None:
    checkpoint = CheckpointFile(tmp_path / "checkpoint.pt")
    checkpoint.write({"step": 3, "weights": torch.ones(10)})
    sound, chance = checkpoint.path.read_bytes(), random.Random(1)

    for _ in range(200):
        content = bytearray(sound)
        content[chance.randrange(len(content))] = chance.randrange(256)
        checkpoint.path.write_bytes(content)
        checkpoint.read()
