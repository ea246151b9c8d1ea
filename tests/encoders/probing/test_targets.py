import numpy as np
import pytest

from encoders.probing.spectrum import SAMPLE_RATE
from encoders.probing.targets import TARGET_NAMES, TARGETS, measure
from tests.encoders.probing.sounds import Sound, clicks, noise, sine, times


def measured(sound: Sound) -> dict[str, float]:
    return dict(zip(TARGET_NAMES, measure(sound).tolist(), strict=True))


def test_there_are_fifteen_targets_each_with_unit_and_definition() -> None:
    assert len(TARGETS) == 15
    assert all(target.unit and target.definition for target in TARGETS)


def test_a_sine_has_its_centroid_at_its_frequency() -> None:
    assert measured(sine(1000))["spectral_centroid"] == pytest.approx(1000, rel=0.01)


def test_two_sines_have_their_centroid_between_them_by_magnitude() -> None:
    both = sine(1000, level_db=-6) + sine(4000, level_db=-12)

    assert measured(both)["spectral_centroid"] == pytest.approx((1000 * 2 + 4000) / 3, rel=0.02)


def test_a_sine_has_its_rolloff_at_its_frequency() -> None:
    assert measured(sine(3000))["spectral_rolloff"] == pytest.approx(3000, rel=0.01)


def test_white_noise_rolls_off_at_85_percent_of_the_spectrum() -> None:
    assert measured(noise())["spectral_rolloff"] == pytest.approx(0.85 * SAMPLE_RATE / 2, rel=0.01)


def test_two_equal_sines_have_half_their_distance_as_bandwidth() -> None:
    both = sine(1000) + sine(3000)

    assert measured(both)["spectral_bandwidth"] == pytest.approx(1000, rel=0.02)


def test_white_noise_has_the_bandwidth_of_an_even_spectrum() -> None:
    assert measured(noise())["spectral_bandwidth"] == pytest.approx(12_000 / np.sqrt(12), rel=0.01)


def test_a_sine_crosses_zero_twice_a_period() -> None:
    assert measured(sine(1000))["zero_crossing_rate"] == pytest.approx(2000 / SAMPLE_RATE, rel=0.01)


def test_white_noise_changes_its_sign_at_every_other_sample() -> None:
    assert measured(noise())["zero_crossing_rate"] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("per_minute", [50, 60, 90, 120, 150])
def test_clicks_have_their_tempo(per_minute: float) -> None:
    assert measured(clicks(per_minute))["tempo"] == pytest.approx(per_minute, rel=0.01)


def test_clicks_too_fast_to_tap_have_half_their_tempo() -> None:
    assert measured(clicks(200))["tempo"] == pytest.approx(100, rel=0.01)


def test_a_steady_tone_has_no_tempo() -> None:
    assert measured(sine())["tempo"] == 0


@pytest.mark.parametrize("per_minute", [60, 120, 240])
def test_clicks_are_counted_as_onsets(per_minute: float) -> None:
    assert measured(clicks(per_minute))["onset_density"] == pytest.approx(per_minute / 60, rel=0.05)


def test_steady_noise_has_no_onsets() -> None:
    assert measured(noise())["onset_density"] == 0


def test_a_steady_tone_has_no_dynamics() -> None:
    values = measured(sine())

    assert values["dynamic_range"] == pytest.approx(0, abs=0.1)
    assert values["dynamic_variance"] == pytest.approx(0, abs=0.01)


def test_loud_and_soft_seconds_differ_by_their_levels() -> None:
    levels = np.where(times(10) % 2 < 1, -6.0, -26.0)

    values = measured(sine(level_db=levels))

    assert values["dynamic_range"] == pytest.approx(20, abs=0.2)
    assert values["dynamic_variance"] == pytest.approx(100, rel=0.02)


def test_a_crescendo_has_its_slope_and_no_diminuendo() -> None:
    values = measured(sine(level_db=-46 + 4 * times(10)))

    assert values["crescendo_strength"] == pytest.approx(4, rel=0.05)
    assert values["diminuendo_strength"] == pytest.approx(0, abs=0.05)


def test_a_diminuendo_is_a_crescendo_played_backwards() -> None:
    rising = sine(level_db=-46 + 4 * times(10))

    assert measured(rising[::-1])["diminuendo_strength"] == pytest.approx(
        measured(rising)["crescendo_strength"], rel=0.05
    )


def test_a_tone_has_one_pitch_class() -> None:
    assert measured(sine(440))["harmonic_complexity"] == pytest.approx(0, abs=0.01)


def test_four_equal_tones_of_different_pitch_have_two_bit() -> None:
    chord = sum((sine(hertz, level_db=-18) for hertz in (440.0, 523.25, 622.25, 739.99)), np.float32(0))

    assert measured(np.asarray(chord, np.float32))["harmonic_complexity"] == pytest.approx(2, abs=0.05)


def test_octaves_are_of_one_pitch_class() -> None:
    assert measured(sine(440) + sine(880))["harmonic_complexity"] == pytest.approx(0, abs=0.01)


def test_noise_has_nearly_all_twelve_pitch_classes() -> None:
    assert measured(noise())["harmonic_complexity"] == pytest.approx(np.log2(12), abs=0.05)


def swells(slope_db_per_s: float) -> Sound:
    """A tone that rises from silence to full level with this slope, each second, and breaks off."""
    into = times(10) % 1
    return sine(1000, level_db=np.where(into < 0.5, np.minimum(-66 + slope_db_per_s * into, -6), -120))


def test_attacks_have_their_slope() -> None:
    assert measured(swells(800))["attack_slopes"] == pytest.approx(800, rel=0.1)


def test_plucked_attacks_are_sharper_than_swelling_ones() -> None:
    plucked, swelling = measured(clicks(60)), measured(swells(200))

    assert plucked["attack_slopes"] > 2 * swelling["attack_slopes"]
    assert plucked["attack_sharpness"] > 1.2 * swelling["attack_sharpness"]


def phrases(*seconds: float) -> Sound:
    """Tones of these lengths with pauses of a second between them."""
    parts = [part for length in seconds for part in (sine(seconds=length), np.zeros(SAMPLE_RATE, np.float32))]
    return np.concatenate(parts[:-1])


def test_phrases_are_parted_by_pauses() -> None:
    assert measured(phrases(3, 3, 3, 3))["num_phrases"] == 4


def test_equal_phrases_are_more_regular_than_unequal_ones() -> None:
    equal, unequal = measured(phrases(4, 4, 4)), measured(phrases(2, 8, 2))

    assert equal["phrase_regularity"] > 0.85
    assert unequal["phrase_regularity"] < 0.7


def test_one_phrase_has_no_regularity() -> None:
    values = measured(sine())

    assert (values["num_phrases"], values["phrase_regularity"]) == (1, 0)


@pytest.mark.parametrize(
    "sound",
    [
        np.zeros(0, np.float32),
        np.zeros(SAMPLE_RATE, np.float32),
        np.ones(1, np.float32),
        np.full(100, 0.5, np.float32),
        noise(0.05),
        noise(0.3),
    ],
    ids=["empty", "silent", "one sample", "a step", "shorter than a frame", "a third of a second"],
)
def test_every_sound_has_finite_targets(sound: Sound) -> None:
    assert np.isfinite(measure(sound)).all()


def test_silence_has_nothing_of_all() -> None:
    assert not measure(np.zeros(SAMPLE_RATE, np.float32)).any()


def test_the_same_sound_has_the_same_targets() -> None:
    sound = noise() + clicks(100, seconds=10)

    assert measure(sound).tobytes() == measure(sound).tobytes()


def test_what_is_louder_differs_in_no_target() -> None:
    sound = clicks(100, seconds=10) + 0.01 * sine(300)

    np.testing.assert_allclose(measure(4 * sound), measure(sound), rtol=1e-3)


def test_long_sounds_are_measured_in_parts_as_short_ones_are() -> None:
    once = clicks(120, seconds=20)
    long = np.tile(once, 4)

    assert measured(long)["tempo"] == pytest.approx(120, rel=0.01)
    assert measured(long)["spectral_centroid"] == pytest.approx(measured(once)["spectral_centroid"], rel=0.02)
