"""Word vectors in the formats in which they are passed around."""

import gzip
import pickle
from pathlib import Path

import numpy as np
import pytest
from gensim.models import KeyedVectors

from encoders.training.word_vectors import read_word_vectors
from retrieval.errors import UnreadableSource

WORDS = ["the", "ship", "song"]
VECTORS = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def keyed() -> KeyedVectors:
    vectors = KeyedVectors(4)
    vectors.add_vectors(WORDS, VECTORS)
    return vectors


def check(path: Path) -> None:
    found = read_word_vectors(path, set(WORDS))

    assert list(found.entries) == WORDS
    np.testing.assert_array_equal(found.vectors, VECTORS)


@pytest.mark.parametrize("name", ["glove.txt", "glove.txt.gz"])
def test_glove_text_is_read(name: str, tmp_path: Path) -> None:
    lines = [" ".join([word, *map(str, row)]) for word, row in zip(WORDS, VECTORS, strict=True)]
    content = ("\n".join(lines) + "\n").encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)

    check(tmp_path / name)


@pytest.mark.parametrize(("name", "binary"), [("w2v.txt", False), ("w2v.bin", True)])
def test_word2vec_formats_are_read(name: str, binary: bool, tmp_path: Path, keyed: KeyedVectors) -> None:
    keyed.save_word2vec_format(str(tmp_path / name), binary=binary)

    check(tmp_path / name)


@pytest.mark.parametrize("separately", [[], ["vectors"]])
def test_gensim_keyed_vectors_are_read(separately: list[str], tmp_path: Path, keyed: KeyedVectors) -> None:
    keyed.save(str(tmp_path / "words.kv"), separately=separately)

    check(tmp_path / "words.kv")


def test_static_embeddings_are_read_without_their_special_tokens(static_vectors: Path) -> None:
    for path in (static_vectors, static_vectors / "model.safetensors"):
        found = read_word_vectors(path, set())
        assert list(found.entries) == ["ship", "##wreck", "song"]
        np.testing.assert_array_equal(found.vectors[0], [8, 9, 10, 11])


class Canary:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.file,)


def test_a_pickle_that_is_no_word_vectors_is_never_run(tmp_path: Path) -> None:
    sung, file = tmp_path / "sung", tmp_path / "evil.kv"
    file.write_bytes(pickle.dumps(Canary(sung)))

    with pytest.raises(UnreadableSource):
        read_word_vectors(file, set())
    assert not sung.exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.txt", b""),
        ("x.txt", b"word one two\n"),
        ("x.txt", b"a 1 2\nb 1 2 3\n"),
        ("x.txt", b"a nan 1\n"),
        ("x.bin", b"5 4\nword \x00\x00"),
        ("x.bin", b"nonsense"),
        ("x.kv", b"nonsense"),
        ("x.safetensors", b"nonsense"),
        ("x.txt.gz", b"nonsense"),
    ],
)
def test_what_holds_no_word_vectors_is_unreadable(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(UnreadableSource, match=r"x\."):
        read_word_vectors(tmp_path / name, set())
