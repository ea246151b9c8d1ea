import json
from pathlib import Path

import numpy as np
import pytest

from encoders.aspects import load_reader
from encoders.loading import load_encoder
from encoders.probing.meter import TargetMeter, targets_of
from encoders.probing.probing import probe_collection
from encoders.probing.targets import TARGET_NAMES
from indexer.encoding import extract_pending
from indexer.progress import ignore_progress
from retrieval.content import Modality
from retrieval.dead_letters import dead_letters
from retrieval.errors import InvalidInput, Unimplemented
from retrieval.features import count_features, read_features
from retrieval.items import Item, sequence, upsert_items
from retrieval.media_roots import uri_of
from retrieval.registry import find_model, list_runs
from retrieval.workspace import Workspace
from tests.probing.band_encoder import KIND, BandEncoder
from tests.probing.conftest import COLLECTION, HERTZ, probe_sounds


def test_every_sound_has_its_targets(shared: Workspace) -> None:
    place = TARGET_NAMES.index("spectral_centroid")

    centroids = [values[place] for values in targets_of(shared, COLLECTION).values()]

    assert len(centroids) == len(HERTZ)
    assert np.corrcoef(centroids, HERTZ)[0, 1] > 0.99


def test_a_collection_that_was_not_measured_has_no_targets(own: Workspace) -> None:
    with own.atomic() as db:
        db.execute("DELETE FROM features")

    assert targets_of(own, COLLECTION) == {}


def test_targets_are_no_vectors() -> None:
    with pytest.raises(Unimplemented):
        TargetMeter().fuse(np.zeros((1, 1, 15), np.float32))


def test_measuring_again_decodes_nothing(own: Workspace) -> None:
    done = extract_pending(
        own, COLLECTION, TargetMeter(), up_to_key=sequence(own, COLLECTION), on_progress=ignore_progress
    )

    assert (done.segments, done.set_aside) == (0, 0)


def test_what_cannot_be_read_is_set_aside(own: Workspace) -> None:
    item = Item("none", Modality.AUDIO, uri=uri_of("media", Path("none.wav")))
    upsert_items(own, COLLECTION, [item])

    done = extract_pending(
        own, COLLECTION, TargetMeter(), up_to_key=sequence(own, COLLECTION), on_progress=ignore_progress
    )

    assert done.set_aside == 1
    assert [letter.uri for letter in dead_letters(own, COLLECTION)] == ["media://media/none.wav"]


def test_the_layer_of_the_bands_knows_brightness_and_that_of_changes_knows_onsets(own: Workspace) -> None:
    report = probe_sounds(own).to_json()

    assert report["targets"]["spectral_centroid"]["tuned"]["best_r2"] > 0.8
    assert report["targets"]["onset_density"]["tuned"]["best_layer"] == 1


def test_a_probing_is_kept_as_a_run(shared: Workspace) -> None:
    (run,) = list_runs(shared, kind="probe")

    assert (run.collection, run.model, run.seed) == (COLLECTION, "bands@1", 42)
    assert run.metrics["spectral_centroid.R2"] > 0.8
    assert run.artifacts["n"] == len(HERTZ)
    assert run.artifacts["groups"] == len(HERTZ) // 2
    json.dumps(run.artifacts, allow_nan=False)


def test_probing_again_gives_the_same(own: Workspace) -> None:
    (before,) = list_runs(own, kind="probe")

    again = probe_sounds(own).to_json()

    assert again["targets"] == before.artifacts["targets"]
    assert again["aspects"] == before.artifacts["aspects"]


def test_the_reader_of_aspects_is_a_registered_model(shared: Workspace) -> None:
    model = find_model(shared, f"{COLLECTION}-aspects")
    reader = load_reader(model.folder)

    assert (model.kind, model.version) == ("aspects", 1)
    assert reader.card.fingerprint == model.fingerprint
    assert "spectral_centroid" in reader.aspects["brightness"]


def test_what_is_read_goes_with_what_was_measured(shared: Workspace) -> None:
    reader = load_reader(find_model(shared, f"{COLLECTION}-aspects").folder)
    ((keys, features),) = read_features(shared, COLLECTION, BandEncoder.feature_fingerprint)
    place = TARGET_NAMES.index("spectral_centroid")
    measured = np.array([targets_of(shared, COLLECTION)[key][place] for key in keys.tolist()])

    read = reader.read(features)[:, place]

    assert np.corrcoef(read, measured)[0, 1] > 0.95
    assert read.mean() == pytest.approx(0, abs=0.05)


def test_what_is_read_from_each_segment_is_kept(shared: Workspace) -> None:
    fingerprint = find_model(shared, f"{COLLECTION}-aspects").fingerprint

    assert count_features(shared, COLLECTION, fingerprint) == len(HERTZ)


def test_too_few_sounds_are_refused(own: Workspace) -> None:
    encoder = load_encoder(find_model(own, KIND).folder)
    assert isinstance(encoder, BandEncoder)

    with pytest.raises(InvalidInput, match="got 2"):
        probe_collection(own, COLLECTION, encoder, group_by="bright")
