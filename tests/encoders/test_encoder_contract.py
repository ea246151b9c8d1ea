"""What every encoder promises; a new kind is done when it passes."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from encoders.encoder import Encoder
from encoders.loading import load_encoder
from retrieval.content import Content, Modality
from retrieval.errors import ModalityNotServed
from tests.encoders.conftest import KINDS, MakeFolder, texts

ODD_TEXTS = [
    "?",
    "zzz unknown words",
    "🚢🎵",
    "船が港に着いた",
    "a" * 100_000,
    "ship " * 50_000,
    "\x00\x01",
    "naïve Ünïcode",
    "‮‍",
    "shipwreck",
]


def test_vectors_are_unit_rows_of_the_promised_width(encoder: Encoder) -> None:
    vectors = encoder.encode_items(texts("the red ship", "a song"))

    assert vectors.dtype == np.float32
    assert vectors.shape == (2, encoder.card.dims)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_no_content_gives_no_rows(encoder: Encoder) -> None:
    assert encoder.encode_items([]).shape == (0, encoder.card.dims)
    assert encoder.encode_queries([]).shape == (0, encoder.card.dims)


@pytest.mark.parametrize("side", ["encode_queries", "encode_items"])
def test_a_vector_does_not_depend_on_its_batch(encoder: Encoder, side: str) -> None:
    encode = getattr(encoder, side)
    contents = texts("the red ship", "a song", "harbour . the blue ship", "green", *["the ship"] * 40)

    together = encode(contents)
    alone = np.concatenate([encode([content]) for content in contents])

    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_the_order_of_a_batch_is_kept(encoder: Encoder) -> None:
    forth = encoder.encode_items(texts("red", "a blue song . the harbour", "green ship"))
    back = encoder.encode_items(texts("green ship", "a blue song . the harbour", "red"))

    np.testing.assert_allclose(forth, back[::-1], atol=1e-6)


@pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
def test_any_text_has_a_vector(encoder: Encoder, text: str) -> None:
    vectors = encoder.encode_items(texts(text))

    assert np.isfinite(vectors).all()
    assert np.linalg.norm(vectors) == pytest.approx(1, abs=1e-5)


def test_threads_may_share_it(encoder: Encoder) -> None:
    contents = [texts("the red ship", "a song"), texts("green"), texts("harbour", "shipwreck", "blue")] * 10
    expected = [encoder.encode_items(batch) for batch in contents]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(encoder.encode_items, contents))

    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_it_reads_the_beginning_of_a_long_text_and_says_so(encoder: Encoder) -> None:
    words = encoder.card.max_words
    long, same = "ship " * words + "song", "ship " * words

    assert encoder.truncates(texts(long, same, "ship")) == [True, False, False]
    np.testing.assert_allclose(
        encoder.encode_items(texts(long)), encoder.encode_items(texts(same)), atol=1e-6
    )


def test_other_content_than_text_is_refused(encoder: Encoder) -> None:
    with pytest.raises(ModalityNotServed, match="takes text, got image"):
        encoder.encode_items([Content(Modality.IMAGE, media=b"x")])


@pytest.mark.parametrize("kind", KINDS)
def test_loading_again_gives_the_same_bits_and_fingerprint(kind: str, make_folder: MakeFolder) -> None:
    folder = make_folder(kind)
    first, second = load_encoder(folder), load_encoder(folder)

    assert first.card.fingerprint == second.card.fingerprint
    contents = texts("the red ship", "a song")
    assert first.encode_items(contents).tobytes() == second.encode_items(contents).tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_other_weights_have_another_fingerprint(kind: str, make_folder: MakeFolder) -> None:
    assert (
        load_encoder(make_folder(kind, seed=0)).card.fingerprint
        != load_encoder(make_folder(kind, seed=1)).card.fingerprint
    )


def test_towers_apart_encode_queries_and_items_differently(make_folder: MakeFolder) -> None:
    apart = load_encoder(make_folder("mlp, towers apart"))
    shared = load_encoder(make_folder("mlp"))

    assert not np.allclose(apart.encode_queries(texts("ship")), apart.encode_items(texts("ship")))
    np.testing.assert_array_equal(shared.encode_queries(texts("ship")), shared.encode_items(texts("ship")))
