import numpy as np
import pytest
from numpy.typing import NDArray

from retrieval.aspect_readings import AspectReadings
from retrieval.content import Modality
from retrieval.features import feature_set, put_features
from retrieval.filter_sql import FilterSelection
from retrieval.filter_text import parse_filter
from retrieval.item_writes import delete_items, upsert_items
from retrieval.items import Item
from retrieval.workspace import Workspace

EQUAL = np.full(2, 0.5, np.float32)
FIRST = np.array([1, 0], np.float32)


def put(ws: Workspace, values: dict[str, tuple[float, float]]) -> None:
    """Store items whose features are these two numbers, doubled."""
    items = [
        Item(id=id, modality=Modality.AUDIO, uri=f"media://m/{id}", attributes={"of": id[0]}) for id in values
    ]
    upsert_items(ws, "c", items)
    feature_set(ws, "features", 1, 2)
    features = np.array(list(values.values()), np.float32).reshape(-1, 1, 2) * 2
    put_features(ws, "features", [keys(ws)[id] for id in values], features)


def keys(ws: Workspace) -> dict[str, int]:
    rows = ws.fetch("SELECT items.id, segments.rowid FROM segments JOIN items ON items.rowid = segments.item")
    return dict(rows)


def halved(features: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(features[:, 0] / 2, np.float32)


@pytest.fixture
def readings(workspace: Workspace) -> AspectReadings:
    put(workspace, {"a1": (0, 0), "a2": (1, 5), "b1": (2, 0), "b2": (3, 9)})
    return AspectReadings(workspace, "c", readings="readings", features="features", targets=2, read=halved)


def found(readings: AspectReadings, ws: Workspace, *args: object) -> list[str]:
    names = {key: id for id, key in keys(ws).items()}
    nearest, _ = readings.search(*args)  # type: ignore[arg-type]
    return [names[key] for key in nearest.tolist()]


def test_the_nearest_in_what_is_weighed_comes_first(readings: AspectReadings, workspace: Workspace) -> None:
    assert found(readings, workspace, np.array([1, 0], np.float32), FIRST, 4) == ["a2", "a1", "b1", "b2"]


def test_scores_are_minus_the_weighted_mean_difference(readings: AspectReadings) -> None:
    _, scores = readings.search(np.zeros(2, np.float32), EQUAL, 4)

    assert scores.tolist() == [0, -1, -3, -6]


def test_the_limit_bounds_what_is_found_and_ties_go_by_key(
    readings: AspectReadings, workspace: Workspace
) -> None:
    put(workspace, {"c1": (0, 0), "c2": (0, 0)})

    assert found(readings, workspace, np.zeros(2, np.float32), EQUAL, 2) == ["a1", "c1"]


def test_only_selected_segments_are_found(readings: AspectReadings, workspace: Workspace) -> None:
    selection = FilterSelection(workspace, "c", parse_filter("of = 'b'"))

    assert found(readings, workspace, np.zeros(2, np.float32), FIRST, 9, selection) == ["b1", "b2"]


def test_what_came_later_is_found(readings: AspectReadings, workspace: Workspace) -> None:
    readings.search(np.zeros(2, np.float32), FIRST, 1)

    put(workspace, {"new": (-1, 0)})

    assert found(readings, workspace, np.array([-1, 0], np.float32), FIRST, 1) == ["new"]


def test_what_was_deleted_is_not_found(readings: AspectReadings, workspace: Workspace) -> None:
    readings.search(np.zeros(2, np.float32), FIRST, 1)

    delete_items(workspace, "c", ["a1"])

    assert found(readings, workspace, np.zeros(2, np.float32), FIRST, 1) == ["a2"]


def test_stored_readings_are_taken_as_they_are(readings: AspectReadings, workspace: Workspace) -> None:
    feature_set(workspace, "readings", 1, 2)
    put_features(workspace, "readings", [keys(workspace)["b2"]], np.zeros((1, 1, 2), np.float32) - 7)

    assert found(readings, workspace, np.full(2, -7, np.float32), FIRST, 1) == ["b2"]


def test_an_item_has_its_readings(readings: AspectReadings) -> None:
    wanted = readings.of_item("b2")

    assert wanted is not None
    assert wanted.tolist() == [3, 9]


def test_an_item_without_features_has_none(readings: AspectReadings, workspace: Workspace) -> None:
    upsert_items(workspace, "c", [Item(id="mute", modality=Modality.AUDIO, uri="media://m/mute")])

    assert readings.of_item("mute") is None
    assert readings.of_item("nobody") is None


def test_a_collection_without_features_has_no_neighbours(workspace: Workspace) -> None:
    empty = AspectReadings(workspace, "c", readings="r", features="f", targets=2, read=halved)

    nearest, scores = empty.search(np.zeros(2, np.float32), FIRST, 3)

    assert (len(nearest), len(scores)) == (0, 0)
