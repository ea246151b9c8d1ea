"""Word vectors trained on the corpus itself."""

from collections.abc import Iterator

import numpy as np

from encoders.training.corpus import WordCorpus
from encoders.training.word_vectors import WordVectors
from retrieval.errors import MissingExtra

WINDOW = 5
NEGATIVE = 5


class _Sentences:
    """The texts as gensim reads them, again for every epoch."""

    def __init__(self, corpus: WordCorpus) -> None:
        self._corpus = corpus

    def __iter__(self) -> Iterator[list[str]]:
        words = self._corpus.words
        for number in range(len(self._corpus.texts)):
            yield [words[row] for row in self._corpus.texts.text(number).tolist()]


def train_cbow(corpus: WordCorpus, words: list[str], *, dims: int, epochs: int, seed: int) -> WordVectors:
    """Train CBOW vectors of the given words (window 5, 5 negatives).

    One thread, as more make the result depend on the weather.

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
    return WordVectors(words, vectors)


def _hash(text: str) -> int:
    """Hash alike in every process, unlike Python's own."""
    value = 0
    for byte in text.encode():
        value = (value * 31 + byte) % (1 << 31)
    return value
