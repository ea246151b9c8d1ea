"""Word vectors trained on the corpus itself."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from encoders.training.corpus import WordCorpus
from encoders.training.word_vectors import WordVectors
from retrieval.errors import MissingExtra

WINDOW = 5
NEGATIVE = 5

# Every CBOW vector leans the same few ways, frequent words most: texts then all look alike.
COMMON_DIRECTIONS = 3
FREQUENT_WORDS = 20_000  # tell those directions
# Words used alike get like vectors, so names cannot be told apart; a random part of length one mends that.
STRENGTH = 0.5


class _Sentences:
    """The texts as gensim reads them, again for every epoch."""

    def __init__(self, corpus: WordCorpus) -> None:
        self._corpus = corpus

    def __iter__(self) -> Iterator[list[str]]:
        words = self._corpus.words
        for number in range(len(self._corpus.texts)):
            yield [words[row] for row in self._corpus.texts.text(number).tolist()]


def train_cbow(corpus: WordCorpus, words: list[str], *, dims: int, epochs: int, seed: int) -> WordVectors:
    """Train CBOW vectors of the given words (window 5, 5 negatives), and make them fit to be added up.

    One thread, as more make the result depend on the weather.

    Args:
        corpus: the texts.
        words: the most frequent first.
        dims: the width.
        epochs: over the texts.
        seed: of everything that is drawn.

    Raises:
        MissingExtra: if gensim is not installed.
    """
    try:
        from gensim.models import Word2Vec
    except ImportError as error:
        raise MissingExtra("training word vectors (CBOW)", "train") from error
    model = Word2Vec(
        vector_size=dims, window=WINDOW, negative=NEGATIVE, min_count=1, seed=seed, workers=1, hashfxn=_hash
    )
    counts = dict(zip(corpus.words, corpus.text_counts().tolist(), strict=True))
    model.build_vocab_from_freq({word: counts[word] for word in words})
    model.train(_Sentences(corpus), total_examples=len(corpus.texts), epochs=epochs)
    vectors = np.stack([model.wv[word] for word in words]).astype(np.float32)
    return WordVectors(words, spread(vectors, seed))


def spread(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Take away what all vectors share, and add to each a random part of its own; rows of length one.

    Source: "All-but-the-top" (Mu and Viswanath 2018), for the first half.
    """
    rows = _unit(vectors)
    rows = rows - rows.mean(axis=0)
    _, _, directions = np.linalg.svd(rows[:FREQUENT_WORDS], full_matrices=False)
    common = directions[:COMMON_DIRECTIONS]
    rows = _unit(rows - (rows @ common.T) @ common)
    own = np.random.default_rng([seed, 1]).standard_normal(rows.shape, dtype=np.float32)
    return _unit(STRENGTH * rows + _unit(own))


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (rows / np.maximum(lengths, 1e-9)).astype(np.float32)
    return unit


def _hash(text: str) -> int:
    """Hash alike in every process, unlike Python's own."""
    value = 0
    for byte in text.encode():
        value = (value * 31 + byte) % (1 << 31)
    return value
