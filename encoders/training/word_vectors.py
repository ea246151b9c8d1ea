"""Reading word vectors that others made, in the formats in which they are passed around."""

import gzip
import json
import pickle
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from encoders.two_tower.vocabulary import PADDING, UNKNOWN
from retrieval.errors import UnreadableSource

FREQUENT_WORDS = 50_000  # kept although the corpus lacks them: queries may use them (files list them first)
_NUMPY_MODULES = {"numpy", "numpy.core.multiarray", "numpy._core.multiarray"}
_SPECIAL = {PADDING, UNKNOWN, "[CLS]", "[SEP]", "[MASK]", "<pad>", "<unk>", "<s>", "</s>"}


@dataclass(frozen=True, slots=True)
class WordVectors:
    """Words, or word pieces with `##` inside a word, and their vectors."""

    entries: Sequence[str]
    vectors: NDArray[np.float32]  # shape (entries, width)


def read_word_vectors(path: Path, corpus_words: Collection[str]) -> WordVectors:
    """Read word vectors; the format follows from the file's name.

    A folder or `.safetensors` holds static embeddings with their `tokenizer.json` (WordPiece). `.kv` is
    gensim's KeyedVectors, `.bin` word2vec's binary format, anything else its text format or GloVe's,
    which may be gzipped.

    Args:
        path: the file or folder.
        corpus_words: of a list of whole words, only these and the most frequent ones are kept.

    Raises:
        UnreadableSource: if it is not what its name says.
    """
    if not path.exists():
        raise UnreadableSource(f"there is no file of word vectors {path.name!r}")
    try:
        if path.is_dir() or path.suffix == ".safetensors":
            found = _read_static(path)
        elif path.suffix == ".kv":
            found = _select(_read_keyed_vectors(path), corpus_words)
        elif path.suffix == ".bin":
            found = _collect(_binary_lines(path), corpus_words)
        else:
            found = _collect(_text_lines(path), corpus_words)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        SafetensorError,
        AttributeError,
        IndexError,
        EOFError,
        MemoryError,  # a damaged pickle may ask for any amount
        OverflowError,
        pickle.UnpicklingError,
    ) as error:
        raise UnreadableSource(f"{path.name} holds no word vectors: {_reason(error)}") from error
    if len(found.entries) == 0 or not np.isfinite(found.vectors).all():
        raise UnreadableSource(f"{path.name} holds no word vectors, or some with NaN or infinity")
    return found


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return "it cannot be opened"
    return (str(error) or type(error).__name__).splitlines()[0][:200]


def _read_static(path: Path) -> WordVectors:
    file = path / "model.safetensors" if path.is_dir() else path
    tensors = load_file(file)
    tables = [tensor for tensor in tensors.values() if tensor.ndim == 2]
    if len(tables) != 1:
        raise ValueError(f"expected one table of vectors in {file.name}, got {len(tables)}")
    table = tables[0].astype(np.float32)
    model = json.loads(file.with_name("tokenizer.json").read_text(encoding="utf-8"))["model"]
    if model.get("type") not in ("WordPiece", "WordLevel"):
        raise ValueError(f"expected a WordPiece tokenizer, got {model.get('type')}")
    places = {word: row for word, row in model["vocab"].items() if word not in _SPECIAL and "\n" not in word}
    if max(places.values()) >= len(table):
        raise ValueError(f"the tokenizer has {max(places.values()) + 1} words, the table {len(table)} rows")
    return WordVectors(list(places), table[list(places.values())])


def _collect(lines: Iterator[tuple[str, NDArray[np.float32]]], corpus_words: Collection[str]) -> WordVectors:
    entries: dict[str, NDArray[np.float32]] = {}
    width = 0
    for number, (word, vector) in enumerate(lines):
        width = width or len(vector)
        if not width:
            raise ValueError(f"line {number + 1} has a word and no numbers")
        if len(vector) != width:
            raise ValueError(f"line {number + 1} has {len(vector)} numbers, those before it {width}")
        word = word.lower()
        if (word in corpus_words or number < FREQUENT_WORDS) and word not in entries and word not in _SPECIAL:
            entries[word] = vector
    return WordVectors(list(entries), np.array(list(entries.values()), np.float32).reshape(-1, width or 1))


def _select(found: WordVectors, corpus_words: Collection[str]) -> WordVectors:
    return _collect(iter(zip(found.entries, found.vectors, strict=True)), corpus_words)


def _text_lines(path: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    with _opened(path) as file:
        for number, line in enumerate(file):
            word, *numbers = line.decode("utf-8", errors="replace").rstrip().split(" ")
            if number == 0 and len(numbers) == 1:
                continue  # word2vec's header: how many words, how wide
            yield word, np.array(numbers, np.float32)


def _binary_lines(path: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    with _opened(path) as file:
        count, width = (int(part) for part in file.readline(100).split())
        for _ in range(count):
            word = bytearray()
            while (byte := file.read(1)) not in (b" ", b""):
                word += byte
            numbers = file.read(4 * width)
            if len(numbers) != 4 * width:
                raise ValueError(f"it ends before its {count} words do")
            yield word.decode("utf-8", errors="replace").strip(), np.frombuffer(numbers, "<f4")


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    with ExitStack() as stack:
        if path.suffix == ".gz":
            yield cast(IO[bytes], stack.enter_context(gzip.open(path)))
        else:
            yield stack.enter_context(path.open("rb"))


class _KeyedVectors:
    """Stands in for gensim's class: takes the state, runs nothing."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state


class _Dtype:
    """Stands in for numpy's dtype."""

    def __init__(self, name: str = "", *_flags: object) -> None:
        self.name, self.order = name, "|"

    def __setstate__(self, state: Sequence[Any]) -> None:
        self.order = state[1]


class _Array:
    """Stands in for numpy's array, whose own way to take a damaged state may end the process."""

    def __init__(self, *_arguments: object) -> None:
        self.values: NDArray[Any] | None = None  # kept of floats only

    def __setstate__(self, state: Sequence[Any]) -> None:
        _, shape, dtype, is_fortran, content = state
        if dtype.name in ("f2", "f4", "f8") and isinstance(content, bytes):
            numbers: NDArray[Any] = np.frombuffer(content, f"{dtype.order}{dtype.name}")
            self.values = numbers.reshape(shape, order="F" if is_fortran else "C")


class _NothingButArrays(pickle.Unpickler):
    """Reads the pickle of KeyedVectors; any class but numpy's arrays is refused, and none is imported."""

    _STANDS_IN: ClassVar[dict[str, type]] = {
        "_reconstruct": _Array,
        "scalar": _Array,
        "ndarray": _Array,
        "dtype": _Dtype,
    }

    def find_class(self, module: str, name: str) -> type:
        if (module, name) == ("gensim.models.keyedvectors", "KeyedVectors"):
            return _KeyedVectors
        if module in _NUMPY_MODULES and name in self._STANDS_IN:
            return self._STANDS_IN[name]
        raise pickle.UnpicklingError(f"it refers to {module}.{name}, which word vectors do not need")


def _read_keyed_vectors(path: Path) -> WordVectors:
    with path.open("rb") as file:
        loaded = _NothingButArrays(file).load()
    if not isinstance(loaded, _KeyedVectors):
        raise ValueError("expected gensim's KeyedVectors")
    words = [str(word) for word in loaded.state["index_to_key"]]
    kept = loaded.state.get("vectors")
    if kept is None:  # gensim puts large arrays beside the file
        vectors = np.lib.format.open_memmap(path.with_name(path.name + ".vectors.npy"), mode="r")
    else:
        vectors = kept.values
    return WordVectors(words, np.asarray(vectors, np.float32).reshape(len(words), -1))
