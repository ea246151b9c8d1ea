"""What every encoder promises, held to by those of pictures, sounds and videos."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeAlias, cast

import numpy as np
import pytest
import torch

from encoders.encoder import LayeredEncoder, MediaEncoder
from encoders.loading import load_encoder
from encoders.pretrained.adding import add_encoder
from retrieval.content import Content, Modality
from retrieval.errors import ModalityNotServed
from retrieval.registry import model_folder
from retrieval.workspace import Workspace
from tests.encoders.hub_folders import FAMILIES
from tests.encoders.media_contents import contents, media

Make: TypeAlias = Callable[..., MediaEncoder]
PAIRED = ["clip", "xclip", "clap", "clap with fusion"]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Add a tiny model of a family, with random weights, and open it."""
    made: dict[tuple[object, ...], MediaEncoder] = {}
    ws = Workspace(tmp_path_factory.mktemp("workspace"), create=True)

    def encoder(family: str, *, seed: int = 0, again: bool = False, **options: Any) -> MediaEncoder:
        options = {"precision": "float32"} | options
        key = (family, seed, *options.items())
        if key not in made or again:
            folder = tmp_path_factory.mktemp("hub")
            torch.manual_seed(seed)
            FAMILIES[family](folder)
            card = add_encoder(ws, f"tiny-{abs(hash(key))}", folder, **options)
            shutil.rmtree(folder)  # the encoder has its own copy of all it needs
            made[key] = cast(MediaEncoder, load_encoder(model_folder(ws, card.name, card.version)))
        return made[key]

    return encoder


@pytest.fixture(params=FAMILIES)
def encoder(request: pytest.FixtureRequest, make: Make) -> MediaEncoder:
    return make(request.param)


def test_vectors_are_unit_rows_of_the_promised_width(encoder: MediaEncoder) -> None:
    mixed = contents(encoder)

    vectors = encoder.encode_items(mixed)

    assert vectors.dtype == np.float32
    assert vectors.shape == (len(mixed), encoder.card.dims)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_it_says_how_to_decode_all_its_modalities_but_text(encoder: MediaEncoder) -> None:
    assert isinstance(encoder, MediaEncoder)
    assert set(encoder.decode_specs) == set(encoder.card.modalities) - {"text"}


def test_no_content_gives_no_rows(encoder: MediaEncoder) -> None:
    assert encoder.encode_items([]).shape == (0, encoder.card.dims)
    assert encoder.encode_queries([]).shape == (0, encoder.card.dims)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-6), ("auto", 1e-2)])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_vector_does_not_depend_on_its_batch(
    make: Make, family: str, precision: str, tolerance: float
) -> None:
    encoder = make(family, precision=precision)
    mixed = contents(encoder)

    together = encoder.encode_items(mixed)
    alone = np.concatenate([encoder.encode_items([content]) for content in mixed])

    np.testing.assert_allclose(together, alone, atol=tolerance)


def test_the_order_of_a_batch_is_kept(encoder: MediaEncoder) -> None:
    mixed = contents(encoder)

    forth, back = encoder.encode_items(mixed), encoder.encode_items(mixed[::-1])

    np.testing.assert_allclose(forth, back[::-1], atol=1e-6)


def test_different_contents_have_different_vectors(encoder: MediaEncoder) -> None:
    vectors = encoder.encode_items(contents(encoder))

    apart = np.linalg.norm(vectors[:, None] - vectors[None], axis=2) + np.eye(len(vectors))
    assert apart.min() > 1e-3


def test_threads_may_share_it(encoder: MediaEncoder) -> None:
    batches = [media(encoder, 2, seed) for seed in range(4)] * 2
    expected = [encoder.encode_items(batch) for batch in batches]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(encoder.encode_items, batches))

    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_queries_and_items_share_one_space(encoder: MediaEncoder) -> None:
    mixed = contents(encoder)

    np.testing.assert_allclose(encoder.encode_queries(mixed), encoder.encode_items(mixed), atol=1e-6)


def test_other_modalities_are_refused(encoder: MediaEncoder) -> None:
    other = next(modality for modality in Modality if modality not in encoder.card.modalities)

    with pytest.raises(ModalityNotServed, match=f"got {other.value}"):
        encoder.encode_items([Content(other, text="x", decoded=np.zeros((8, 8, 3), np.uint8))])


def test_what_was_not_decoded_is_a_fault_of_the_caller(encoder: MediaEncoder) -> None:
    content = replace(media(encoder, 1)[0], decoded=None)

    with pytest.raises(ValueError, match="was not decoded"):
        encoder.encode_items([content])


@pytest.mark.parametrize("family", FAMILIES)
def test_adding_again_gives_the_same_fingerprint_and_bits(make: Make, family: str) -> None:
    first, second = make(family), make(family, again=True)

    assert first.card.fingerprint == second.card.fingerprint
    assert first.encode_items(contents(first)).tobytes() == second.encode_items(contents(second)).tobytes()


@pytest.mark.parametrize("family", FAMILIES)
def test_other_weights_have_another_fingerprint(make: Make, family: str) -> None:
    assert make(family).card.fingerprint != make(family, seed=1).card.fingerprint


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_is_close_to_float32(make: Make, family: str) -> None:
    finely, fast = make(family), make(family, precision="auto")
    mixed = contents(finely)

    cosines = (finely.encode_items(mixed) * fast.encode_items(mixed)).sum(axis=1)

    assert cosines.min() > 0.999


@pytest.mark.parametrize("family", PAIRED)
def test_long_texts_are_read_in_part_and_it_says_so(make: Make, family: str) -> None:
    encoder = make(family)
    longest = encoder.card.preprocessing["max_tokens"] - 2
    whole, more = Content(text="ship " * longest), Content(text="ship " * longest + "song")

    assert encoder.truncates([whole, more]) == [False, True]
    np.testing.assert_allclose(encoder.encode_items([whole]), encoder.encode_items([more]), atol=1e-6)


@pytest.mark.parametrize("family", ["hubert", "mert", "wav2vec2", "whisper"])
def test_layered_encoders_fuse_what_they_extract(make: Make, family: str) -> None:
    encoder = make(family)
    assert isinstance(encoder, LayeredEncoder)
    sounds = media(encoder, 3)

    features = encoder.extract(sounds)

    assert features.shape == (3, *encoder.feature_shape) == (3, 3, 16)
    np.testing.assert_array_equal(encoder.fuse(features), encoder.encode_items(sounds))
    assert encoder.extract([]).shape == (0, *encoder.feature_shape)
