"""Bootstrap intervals and paired tests: coverage, seeds, power, no false alarms."""

import numpy as np
import pytest

from evaluation.intervals import bootstrap_interval, paired_difference


def test_interval_agrees_with_the_normal_theory() -> None:
    values = np.random.default_rng(1).normal(0.5, 0.2, size=(1000, 1))

    low, high = bootstrap_interval(values)[:, 0]

    half_width = 1.96 * values.std() / np.sqrt(1000)
    assert low == pytest.approx(values.mean() - half_width, abs=0.001)
    assert high == pytest.approx(values.mean() + half_width, abs=0.001)


def test_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(1).random((50, 3))

    assert np.array_equal(bootstrap_interval(values, seed=7), bootstrap_interval(values, seed=7))


def test_interval_does_not_depend_on_how_draws_are_chunked(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).random((50, 2))
    whole = bootstrap_interval(values, resamples=1000)

    monkeypatch.setattr("evaluation.intervals._CHUNK_DRAWS", 700)

    assert np.allclose(bootstrap_interval(values, resamples=1000), whole)


def test_one_query_gives_an_interval_of_no_width() -> None:
    assert bootstrap_interval(np.array([[0.25]])).ravel().tolist() == [0.25, 0.25]


def test_no_query_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one query"):
        bootstrap_interval(np.empty((0, 1)))


def test_a_clear_difference_is_significant() -> None:
    rng = np.random.default_rng(2)
    worse = rng.random(500)

    result = paired_difference(worse + rng.normal(0.05, 0.1, 500), worse)

    assert result.significant
    assert result.p_value < 0.001
    assert result.low < result.difference < result.high


def test_equal_systems_differ_by_nothing() -> None:
    same = np.random.default_rng(3).random(100)

    result = paired_difference(same, same)

    assert (result.difference, result.p_value, result.wins, result.losses) == (0, 1, 0, 0)
    assert not result.significant


def test_p_values_of_equal_systems_are_spread_evenly() -> None:
    rng = np.random.default_rng(4)
    p_values = [
        paired_difference(rng.random(60), rng.random(60), seed=trial, resamples=500).p_value
        for trial in range(200)
    ]

    assert np.mean(np.array(p_values) < 0.1) == pytest.approx(0.1, abs=0.06)


def test_wins_and_losses_are_counted() -> None:
    result = paired_difference(np.array([1.0, 0.5, 0.0, 1.0]), np.array([0.0, 0.5, 1.0, 0.5]))

    assert (result.wins, result.losses) == (2, 1)


def test_different_queries_are_refused() -> None:
    with pytest.raises(ValueError, match="same queries"):
        paired_difference(np.zeros(3), np.zeros(4))
