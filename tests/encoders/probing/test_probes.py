from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from encoders.probing.aspects import ASPECTS, aspect_layers, fit_readouts, layer_shares
from encoders.probing.closeness import closeness
from encoders.probing.folds import folds_of, learned_rows, number_groups
from encoders.probing.neural_probe import CONFIG, NeuralProbe, neural_predictions
from encoders.probing.probes import ProbeData, ProbeKind, best_layers, mean_baseline, probe
from encoders.probing.ridge import ridge_predictions
from encoders.probing.scores import r_squared, r_squared_interval
from encoders.probing.targets import TARGET_NAMES
from encoders.vectors import unit_rows
from retrieval.errors import InvalidInput

RNG = np.random.default_rng(0)
START = RNG.bit_generator.state
QUICK = replace(CONFIG, epochs=30)


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    """Let no test depend on those before it."""
    RNG.bit_generator.state = START


def windows(recordings: int = 40, each: int = 3, width: int = 8) -> ProbeData:
    """Layer 1 holds the first target; no layer holds the second; the third does not vary."""
    groups = np.repeat(np.arange(recordings), each)
    truth = RNG.standard_normal((len(groups), 2))
    features = RNG.standard_normal((len(groups), 2, width))
    features[:, 1, 0] = truth[:, 0]
    targets = np.column_stack([100 + 7 * truth[:, 0], truth[:, 1], np.full(len(groups), 3.0)])
    return ProbeData(features.astype(np.float32), targets.astype(np.float32), groups)


def test_no_group_is_both_learned_from_and_asked_about() -> None:
    groups = RNG.integers(0, 23, size=100)

    for known, asked in folds_of(groups):
        assert not set(groups[known]) & set(groups[asked])


def test_every_row_is_asked_about_once() -> None:
    groups = RNG.integers(0, 23, size=100)

    asked = np.concatenate([asked for _, asked in folds_of(groups)])

    assert sorted(asked.tolist()) == list(range(100))


def test_folds_are_those_of_scikit_learn() -> None:
    # sklearn.model_selection.KFold(5, shuffle=True, random_state=42).split(range(10))
    expected = [[1, 8], [0, 5], [2, 7], [4, 9], [3, 6]]

    assert [asked.tolist() for _, asked in folds_of(np.arange(10))] == expected


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(InvalidInput, match="5 groups at least, got 4"):
        folds_of(np.array([0, 0, 1, 2, 3]))


def test_groups_are_numbered_whatever_the_order_of_the_rows() -> None:
    assert number_groups(["x", "y", "x"]).tolist() == [0, 1, 0]
    assert number_groups(["y", "x", "x"]).tolist() == [1, 0, 0]


def test_held_out_groups_are_not_learned_from() -> None:
    groups = np.repeat(np.arange(10), 3)

    learned = learned_rows(groups, seed=0, held_out=0.2)

    assert len(set(groups[~learned])) == 2
    assert not set(groups[learned]) & set(groups[~learned])


@pytest.mark.parametrize("rows", [20, 200], ids=["fewer rows than columns", "more rows than columns"])
def test_ridge_solves_its_normal_equations(rows: int) -> None:
    features, targets, asked = (RNG.standard_normal(shape) for shape in ((rows, 50), (rows, 3), (7, 50)))

    predicted = ridge_predictions(features, targets, asked, penalty=2.0)

    scaled, wanted = ((part - features.mean(0)) / features.std(0) for part in (features, asked))
    centred = targets - targets.mean(0)
    weights = np.linalg.solve(scaled.T @ scaled + 2 * np.eye(50), scaled.T @ centred)
    np.testing.assert_allclose(predicted, wanted @ weights + targets.mean(0), atol=1e-8)


def test_a_column_that_does_not_vary_changes_nothing() -> None:
    features, targets = RNG.standard_normal((30, 4)), RNG.standard_normal((30, 1))
    with_constant = np.column_stack([features, np.full(30, 1e6)])

    one = ridge_predictions(features, targets, features)
    other = ridge_predictions(with_constant, targets, with_constant)

    np.testing.assert_allclose(one, other, atol=1e-8)


def test_a_tuned_penalty_predicts_better_where_rows_are_few() -> None:
    features = RNG.standard_normal((120, 100))
    targets = features[:, :1] + RNG.standard_normal((120, 1))
    known, asked, groups = slice(0, 100), slice(100, 120), np.arange(100)

    fixed = ridge_predictions(features[known], targets[known], features[asked])
    tuned = ridge_predictions(features[known], targets[known], features[asked], groups)

    assert r_squared(targets[asked], tuned)[0] > r_squared(targets[asked], fixed)[0]


def test_r2_is_1_for_the_truth_and_0_for_the_mean() -> None:
    targets = RNG.standard_normal((50, 2))

    assert r_squared(targets, targets).tolist() == [1, 1]
    np.testing.assert_allclose(r_squared(targets, np.tile(targets.mean(0), (50, 1))), 0, atol=1e-12)


def test_r2_of_a_target_that_does_not_vary_is_not_a_number() -> None:
    assert np.isnan(r_squared(np.ones((5, 1)), np.ones((5, 1)))[0])


def test_the_interval_holds_r2_and_is_the_same_each_time() -> None:
    targets = RNG.standard_normal((200, 1))
    predicted = targets + 0.5 * RNG.standard_normal((200, 1))
    groups = np.repeat(np.arange(50), 4)

    bounds = r_squared_interval(targets, predicted, groups)

    assert bounds[0, 0] < r_squared(targets, predicted)[0] < bounds[1, 0]
    assert bounds.tobytes() == r_squared_interval(targets, predicted, groups).tobytes()


def test_windows_of_few_recordings_give_a_wider_interval_than_as_many_recordings() -> None:
    targets = np.repeat(RNG.standard_normal((20, 1)), 10, axis=0)
    predicted = targets + np.repeat(RNG.standard_normal((20, 1)), 10, axis=0)

    few = r_squared_interval(targets, predicted, np.repeat(np.arange(20), 10))
    many = r_squared_interval(targets, predicted, np.arange(200))

    assert few[1, 0] - few[0, 0] > many[1, 0] - many[0, 0]


@pytest.mark.parametrize("kind", ["ridge", "tuned"])
def test_a_probe_finds_the_layer_that_holds_a_target(kind: ProbeKind) -> None:
    scores = probe(windows(recordings=60), kind)

    assert best_layers(scores.r2)[0] == 1
    assert scores.r2[1, 0] > 0.7
    assert scores.low[1, 0] < scores.r2[1, 0] < scores.high[1, 0]


@pytest.mark.parametrize("kind", ["ridge", "tuned"])
def test_no_probe_finds_what_no_layer_holds(kind: ProbeKind) -> None:
    assert probe(windows(), kind).r2[:, 1].max() < 0.1


def test_the_mean_of_what_is_learned_from_scores_about_0() -> None:
    baseline = mean_baseline(windows())

    assert -0.1 < baseline[0] <= 0


def neural(data: ProbeData, layer: int) -> NDArray[np.float64]:
    """R2 of a neural probe on the last third of the rows."""
    known = np.arange(len(data.groups)) < len(data.groups) * 2 // 3
    rows = data.features[:, layer]
    predicted = neural_predictions(
        rows[known], data.targets[known], rows[~known], data.groups[known], seed=0, config=QUICK
    )
    return r_squared(data.targets[~known], predicted)


def test_a_neural_probe_finds_the_layer_that_holds_a_target() -> None:
    data = windows(recordings=60)

    assert neural(data, layer=1)[0] > 0.6
    assert neural(data, layer=0)[0] < 0.1


def test_the_same_seed_gives_the_same_neural_probe() -> None:
    data = windows(recordings=10)

    assert neural(data, 1).tobytes() == neural(data, 1).tobytes()


def test_the_neural_probe_has_the_shape_that_is_told() -> None:
    shapes = [
        tuple(parameter.shape) for parameter in NeuralProbe(768, 15).parameters() if parameter.ndim == 2
    ]

    assert shapes == [(256, 768), (128, 256), (15, 128)]


def test_steps_are_told() -> None:
    told: list[tuple[str, int, int]] = []

    probe(windows(), "ridge", on_step=lambda *step: told.append(step))

    assert told[-1] == ("ridge", 10, 10)


def test_every_aspect_stands_on_targets_that_exist() -> None:
    assert {target for targets in ASPECTS.values() for target in targets} <= set(TARGET_NAMES)
    assert len(ASPECTS) == 9


def test_a_search_by_what_is_read_is_closer_than_one_by_vectors() -> None:
    data = sounds_of_two_layers()
    vectors = unit_rows(data.features[:, 0])  # the layer that knows nothing

    found = closeness(data, probe(data, "tuned"), vectors)["brightness"]

    assert found["aspect"].low > found["vector"].high
    assert found["measured"].value > found["aspect"].value
    assert abs(found["vector"].value) < 0.1


def sounds_of_two_layers() -> ProbeData:
    """Layer 1 holds the first target, with some noise, among seven numbers that mean nothing."""
    groups = np.repeat(np.arange(60), 2)
    targets = RNG.standard_normal((120, 15)).astype(np.float32)
    features = RNG.standard_normal((120, 2, 8)).astype(np.float32)
    features[:, 1, 0] = targets[:, 0] + 0.1 * features[:, 1, 0]
    return ProbeData(features, targets, groups)


def test_an_aspect_that_no_layer_knows_is_not_searched() -> None:
    data = sounds_of_two_layers()

    assert "tempo" not in closeness(data, probe(data, "tuned"), unit_rows(data.features[:, 0]))


def test_the_layers_that_know_a_target_share_it() -> None:
    scores = probe(sounds_of_two_layers(), "tuned")

    shares = layer_shares(scores)

    assert shares[:, 0].sum() == pytest.approx(1)
    assert shares[1, 0] > 0.99
    assert aspect_layers(scores)["brightness"] == pytest.approx(shares[:, 0].tolist())
    assert not any(aspect_layers(scores)["tempo"])


def test_readouts_read_what_the_layers_hold() -> None:
    data = sounds_of_two_layers()

    readouts = fit_readouts(data, probe(data, "tuned"), seed=0)

    read = data.features.reshape(120, -1) @ readouts.weights + readouts.bias
    assert np.corrcoef(read[:, 0], data.targets[:, 0])[0, 1] > 0.95
    assert not readouts.weights[:, TARGET_NAMES.index("tempo")].any()
