"""Ranks across modalities, the levels of chance, and linear maps in closed form."""

import numpy as np
import pytest

from encoders.training.cross_modal import chance, rank_across
from encoders.training.linear_maps import correlated, gaussian_kernel, ridge


def test_media_of_one_caption_are_all_right_for_it() -> None:
    media = np.array([[1, 0], [0.8, 0.6], [0, 1]], np.float32)
    texts = np.array([[0.6, 0.8], [0, 1]], np.float32)

    found = rank_across(media, texts, np.array([0, 0, 1]))

    assert found.ranks["text_to_media"].tolist() == [1, 1]
    assert found.ranks["media_to_text"].tolist() == [1, 1, 1]


def test_equal_scores_count_against_the_right_answer() -> None:
    found = rank_across(np.ones((4, 1), np.float32), np.ones((4, 1), np.float32), np.arange(4))

    assert found.ranks["text_to_media"].tolist() == [4, 4, 4, 4]
    assert found.means()["text_to_media.MRR"] == 0.25


def test_chance_is_what_random_vectors_reach() -> None:
    random = np.random.default_rng(0)
    caption_of = np.sort(random.integers(0, 12, 30))
    caption_of = np.unique(caption_of, return_inverse=True)[1]
    captions = int(caption_of.max()) + 1
    runs = [
        rank_across(
            random.standard_normal((30, 6)).astype(np.float32),
            random.standard_normal((captions, 6)).astype(np.float32),
            caption_of,
        ).means()
        for _ in range(400)
    ]

    for name, expected in chance(caption_of, captions).items():
        assert np.mean([run[name] for run in runs]) == pytest.approx(expected, abs=0.02), name


def test_ridge_finds_a_linear_relation() -> None:
    random = np.random.default_rng(0)
    inputs = random.standard_normal((50, 6)).astype(np.float32)
    outputs = (inputs @ random.standard_normal((6, 3)) + 2).astype(np.float32)

    predicted, centred = ridge(inputs, outputs, 1e-6)

    np.testing.assert_allclose(predicted(inputs), centred(outputs), atol=1e-3)


def test_ridge_of_few_pairs_is_that_of_the_other_form() -> None:
    random = np.random.default_rng(0)
    inputs, outputs = (random.standard_normal((20, width)).astype(np.float32) for width in (30, 3))
    centred = (inputs - inputs.mean(axis=0)).astype(np.float64)

    weight = ridge(inputs, outputs, 0.5)[0].weight

    expected = np.linalg.solve(
        centred.T @ centred + 0.5 * np.eye(30), centred.T @ (outputs - outputs.mean(axis=0))
    )
    np.testing.assert_allclose(weight, expected.T, atol=1e-5)


def test_correlated_directions_are_found() -> None:
    random = np.random.default_rng(0)
    shared = random.standard_normal((400, 3))
    left, right = (
        np.hstack([shared, 3 * random.standard_normal((400, 5))]) @ random.standard_normal((8, 8))
        for _ in "lr"
    )

    maps = correlated(left.astype(np.float32), right.astype(np.float32), dims=3, regularisation=0.01)

    alike = np.einsum("nd,nd->n", maps[0](left.astype(np.float32)), maps[1](right.astype(np.float32)))
    assert alike.mean() > 0.8


def test_features_of_a_kernel_give_the_kernel_back() -> None:
    random = np.random.default_rng(0)
    vectors = random.standard_normal((30, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    features = gaussian_kernel(vectors, gamma=2.0, landmarks=30, rank=30, seed=0)(vectors)

    squares = ((vectors[:, None] - vectors[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(features @ features.T, np.exp(-2.0 * squares), atol=2e-3)
