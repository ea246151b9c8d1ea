"""What a two-tower starts from: a vocabulary, a word table, and towers that change nothing yet."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from encoders.training.config import TwoTowerConfig
from encoders.training.corpus import WordCorpus, count_texts
from encoders.training.word_vectors import WordVectors, read_word_vectors
from encoders.two_tower.ragged import RaggedTexts
from encoders.two_tower.towers import MlpTower, TwoTower
from encoders.two_tower.vocabulary import PADDING, PADDING_ROW, UNKNOWN, UNKNOWN_ROW, Vocabulary
from retrieval.errors import InvalidTrainingData

_EXTRA_STRENGTH = 0.5  # of random columns, against the given ones
_MAX_PCA_TEXTS = 20_000


@dataclass(frozen=True, slots=True)
class Initial:
    """A vocabulary and its first word table."""

    vocabulary: Vocabulary
    table: NDArray[np.float32]  # shape (words, word_dims)


def make_initial(
    corpus: WordCorpus, config: TwoTowerConfig, make_cbow: Callable[[list[str]], WordVectors]
) -> Initial:
    """Bring word vectors and the corpus's own words together.

    Raises:
        InvalidTrainingData: if no word of the corpus is frequent enough.
        UnreadableSource: if the file of word vectors is not one.
    """
    random = np.random.default_rng([config.seed, 0])
    words = _frequent_words(corpus, config)
    if config.init == "cbow":
        given = make_cbow(words)
    elif config.init == "none":
        width = config.dims or config.cbow_dims
        given = WordVectors(words, random.standard_normal((len(words), width)).astype(np.float32))
    else:
        given = read_word_vectors(Path(config.init), set(words))
    vocabulary, table = _extended(given, words, config, random)
    texts = corpus.to_rows(vocabulary)
    _weight(table, texts, config.word_weighting)
    return Initial(vocabulary, _widened(table, config, random))


def _frequent_words(corpus: WordCorpus, config: TwoTowerConfig) -> list[str]:
    """List the words that get a row of their own, the most frequent first."""
    counts = corpus.text_counts()
    frequent = [
        (-int(count), word)
        for word, count in zip(corpus.words, counts, strict=True)
        if count >= config.min_word_texts
    ]
    if not frequent:
        raise InvalidTrainingData(
            f"no word is in {config.min_word_texts} texts or more: lower min_word_texts, or import more texts"
        )
    return [word for _, word in sorted(frequent)[: config.max_vocabulary]]


def _extended(
    given: WordVectors, words: list[str], config: TwoTowerConfig, random: np.random.Generator
) -> tuple[Vocabulary, NDArray[np.float32]]:
    """Add rows for padding, for unknown words, and for frequent words that the vectors lack."""
    width = given.vectors.shape[1]
    length = float(np.sqrt((given.vectors**2).sum(axis=1).mean())) or 1.0
    unknown = _random_rows(1, width, length, random)
    table = np.concatenate([np.zeros((1, width), np.float32), unknown, given.vectors])
    base = Vocabulary([PADDING, UNKNOWN, *given.entries])
    added = [word for word in words if word not in base]
    added = added[: max(0, config.max_vocabulary - len(base))]
    if not added:
        return base, table
    rows = _random_rows(len(added), width, length, random)
    for place, word in enumerate(added):
        pieces = base.word_rows(word)
        if pieces != (UNKNOWN_ROW,):
            rows[place] = table[list(pieces)].sum(axis=0)  # so that a text keeps the direction it had
    return Vocabulary([*base.entries, *added]), np.concatenate([table, rows])


def _random_rows(count: int, width: int, length: float, random: np.random.Generator) -> NDArray[np.float32]:
    rows: NDArray[np.float32] = random.standard_normal((count, width), dtype=np.float32)
    return rows * np.float32(length / np.sqrt(width))


def _weight(table: NDArray[np.float32], texts: RaggedTexts, power: float) -> None:
    """Weight each row by its rarity and scale the table to rows of mean length one, in place.

    Source: smooth inverse frequency in spirit (Arora et al. 2017); idf to the power 1/2 was best here.
    """
    counts = count_texts(texts, len(table))
    table *= (np.log((1 + len(texts)) / (1 + counts)) + 1e-3)[:, None].astype(np.float32) ** power
    table /= np.sqrt((table**2).sum(axis=1).mean()) or 1.0
    table[PADDING_ROW] = 0


def _widened(
    table: NDArray[np.float32], config: TwoTowerConfig, random: np.random.Generator
) -> NDArray[np.float32]:
    """Add random columns when the vectors shall be wider than the words: they tell rare words apart."""
    extra = (config.dims or 0) - table.shape[1]
    if extra <= 0 or config.tower != "mlp":
        return table
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    columns = random.standard_normal((len(table), extra)) * (_EXTRA_STRENGTH / np.sqrt(extra))
    return np.concatenate([table, (columns * lengths).astype(np.float32)], axis=1)


@torch.no_grad()
def start_as_identity(model: TwoTower, texts: RaggedTexts) -> None:
    """Set an mlp so that it hands on the mean word vector, turned to its principal directions if narrower.

    With a hidden layer, relu(x) - relu(-x) = x. So training starts from what the word vectors can do.
    """
    for tower in (model.query, model.item):
        if not isinstance(tower, MlpTower):
            return
        basis = _basis(model.table, texts, model.shape.dims)  # (dims, word_dims)
        first, *second = tower.layers
        assert isinstance(first, torch.nn.Linear)
        first.bias.zero_()
        if not second:
            first.weight.copy_(basis)
            continue
        (last,) = second
        assert isinstance(last, torch.nn.Linear)
        kept = min(model.shape.dims, model.shape.hidden_dims // 2)
        first.weight[: 2 * kept] = torch.cat([basis[:kept], -basis[:kept]])
        last.weight.zero_()
        last.bias.zero_()
        identity = torch.eye(kept)
        last.weight[:kept, : 2 * kept] = torch.cat([identity, -identity], dim=1)


def _basis(table: torch.Tensor, texts: RaggedTexts, dims: int) -> torch.Tensor:
    if dims == table.shape[1]:
        return torch.eye(dims)
    some = texts.take(np.arange(0, len(texts), max(1, len(texts) // _MAX_PCA_TEXTS)))
    means = torch.nn.functional.embedding_bag(
        torch.from_numpy(some.rows.astype(np.int64)),
        table,
        torch.from_numpy(some.starts),
        mode="mean",
        include_last_offset=True,
    )
    _, vectors = torch.linalg.eigh(means.T @ means)
    largest_first: torch.Tensor = vectors.flip(1).T[:dims]
    return largest_first.contiguous()
