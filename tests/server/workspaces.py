"""Real workspaces for the server's tests: a small encoder written as files, items, an index."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from encoders.artifacts import write_model
from encoders.card import EncoderCard
from encoders.encoder import Encoder
from encoders.loading import load_encoder
from encoders.two_tower.architecture import KIND, Architecture
from encoders.two_tower.text_encoder import TENSORS_FILE
from encoders.two_tower.vocabulary import PADDING, UNKNOWN, VOCABULARY_FILE, Vocabulary
from encoders.two_tower.words import SPLITTER
from retrieval.collections import create_collection
from retrieval.embeddings import encoder_row, put_embeddings, read_embeddings
from retrieval.index_build import build_index
from retrieval.index_types import IndexParameters
from retrieval.item_writes import upsert_items
from retrieval.items import Item
from retrieval.manifest import Manifest
from retrieval.publishing import new_version_folder, promote, publish
from retrieval.registry import find_model, register_model
from retrieval.segments import pending_segments
from retrieval.workspace import Workspace

COLLECTION = "compass"
WORDS = ["north", "east", "south", "west", "up", "down", "red", "blue", "green", "old", "new", "far"]
DIMS = len(WORDS) + 1  # one direction a word, and one for all unknown words


def write_encoder(
    ws: Workspace, *, name: str = "compass", version: int = 1, max_words: int = 0, broken_word: str = ""
) -> EncoderCard:
    """Write and register an encoder that gives each word a direction of its own; versions turn the axes."""
    table = np.zeros((len(WORDS) + 2, DIMS), np.float32)
    table[1:] = np.roll(np.eye(DIMS, dtype=np.float32), version - 1, axis=1)
    if broken_word:
        table[WORDS.index(broken_word) + 2] = np.nan
    shape = Architecture(rows=len(table), word_dims=DIMS, hidden_dims=0, dims=DIMS)
    tensors = {"both.table": table, "both.bias": np.zeros(DIMS, np.float32)}
    card = write_model(
        ws.models / name / str(version),
        EncoderCard(
            kind=KIND,
            name=name,
            version=version,
            modalities=("text",),
            dims=DIMS,
            max_words=max_words,
            preprocessing={"splitter": SPLITTER},
            architecture=shape.to_card(),
        ),
        {TENSORS_FILE: save(tensors), VOCABULARY_FILE: Vocabulary([PADDING, UNKNOWN, *WORDS]).to_bytes()},
    )
    register_model(ws, name, version, KIND, card.fingerprint, {})
    return card


def direction(word: str, version: int = 1) -> NDArray[np.float32]:
    """Return the vector of a word, shape (DIMS,)."""
    vector = np.zeros(DIMS, np.float32)
    vector[(WORDS.index(word) + version) % DIMS] = 1.0
    return vector


def sample_items() -> list[Item]:
    """Return an item for each word, and one for each pair of neighbours."""
    single = [Item(word, text=word, attributes={"length": len(word)}) for word in WORDS]
    pairs = [
        Item(f"{one}-{other}", text=f"{one} {other}", attributes={"pair": True})
        for one, other in itertools.pairwise(WORDS)
    ]
    return single + pairs


EXACT = IndexParameters(backend="exact", kind="flat", storage="f32")


def make_workspace(
    root: Path,
    items: Sequence[Item] | None = None,
    *,
    max_words: int = 0,
    broken_word: str = "",
    parameters: IndexParameters = EXACT,
) -> Workspace:
    """Make a workspace whose collection is indexed and live."""
    ws = Workspace(root, create=True)
    create_collection(ws, COLLECTION)
    if chosen := sample_items() if items is None else items:
        upsert_items(ws, COLLECTION, chosen)
    write_encoder(ws, max_words=max_words, broken_word=broken_word)
    promote(ws, COLLECTION, build_version(ws, parameters=parameters))
    return ws


def build_version(
    ws: Workspace,
    model: str = "compass@1",
    collection: str = COLLECTION,
    parameters: IndexParameters = EXACT,
) -> str:
    """Encode what is new, build an index of all, and publish it."""
    encoder: Encoder = load_encoder(find_model(ws, model).folder)
    fingerprint = encoder.card.fingerprint
    encoder_row(ws, fingerprint, encoder.card.dims)
    if pending := pending_segments(ws, collection, fingerprint, limit=100_000):
        vectors = encoder.encode_items([content for _, content in pending])
        put_embeddings(ws, fingerprint, [key for key, _ in pending], vectors)
    folder = new_version_folder(ws, collection)
    batches = read_embeddings(ws, collection, fingerprint)
    queries = np.empty((0, encoder.card.dims), np.float32)
    built = build_index(folder, batches, encoder.card.dims, parameters, queries)
    manifest = Manifest(
        collection=collection,
        fingerprint=fingerprint,
        model=model,
        dims=encoder.card.dims,
        count=built.count,
        built_key=built.built_key,
        parameters=built.parameters,
    )
    return publish(ws, collection, folder, manifest)
