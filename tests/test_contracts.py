"""What methods may require of a classifier, and the inputs for spectra."""

import pytest
import torch

from lmac_td.contracts import (
    require_gradients,
    require_mel_bands,
    require_representations,
)
from lmac_td.errors import SettingError
from tests.networks import (
    noise,
    spectrogram_classifier,
    square_root_features,
    waveform_classifier,
)


def test_classifiers_of_spectrograms_take_the_magnitude_of_spectra():
    classifier = spectrogram_classifier()
    magnitude = square_root_features()(noise(2)).magnitude

    def resynthesise():
        raise AssertionError("no sound is needed")

    inputs = classifier.inputs_of_spectrum(magnitude, resynthesise)
    assert torch.equal(inputs, classifier.inputs_of(magnitude=magnitude))


def test_classifiers_of_waveforms_take_the_sound_of_spectra():
    classifier, stft = waveform_classifier(), square_root_features()
    wavs = noise(2)
    features = stft(wavs)
    inputs = classifier.inputs_of_spectrum(
        0.5 * features.magnitude, lambda: stft.istft(0.5 * features.stft, wavs.shape[1])
    )
    torch.testing.assert_close(inputs, 0.5 * wavs, atol=1e-6, rtol=0)


def test_missing_representations_are_refused():
    bare, classifier = waveform_classifier(representations=[]), waveform_classifier()
    require_representations(classifier, "L-MAC")
    with pytest.raises(SettingError) as error:
        require_representations(bare, "L-MAC")
    assert str(error.value) == (
        "L-MAC decodes representations, and WaveformCnn gives none: name its layers in "
        "the setting representations, or use a method that needs none, such as "
        "occlusion"
    )
    with pytest.raises(SettingError, match="decodes at least 9 representations"):
        require_representations(classifier, "L2I", at_least=9)


def test_missing_mel_bands_are_refused():
    with pytest.raises(SettingError, match="no mel bands to mask: give --domain stft"):
        require_mel_bands(waveform_classifier())


def test_missing_gradients_are_refused():
    classifier = waveform_classifier()
    require_gradients(classifier, "L-MAC")
    classifier.differentiable = False
    with pytest.raises(SettingError, match="L-MAC needs gradients, and WaveformCnn is"):
        require_gradients(classifier, "L-MAC")
