"""What is told and drawn of a transition matrix."""

import numpy as np
import pytest

pytest.importorskip("PIL")
from conftest import make_folder

from selfie_io.labels.describe import describe_overlay
from selfie_io.labels.matrix_image import matrix_image
from selfie_io.labels.noise import inject_noise, transition_matrix
from selfie_io.labels.overlay_writer import save_overlay
from selfie_io.records.dataset import open_dataset


def test_an_overlay_tells_what_it_did(tmp_path):
    _, labels, _ = make_folder(tmp_path / "set", shape=(1, 2, 2), train_files=(500,), num_classes=4)
    dataset = open_dataset(tmp_path / "set", shape=(1, 2, 2), num_classes=5)
    noisy = inject_noise(labels, transition_matrix("pair", 5, 0.4), exact=True)
    save_overlay(dataset, "pair-0.4", noisy, {"kind": "pair", "rate": 0.4})
    told = describe_overlay(dataset, "pair-0.4")
    assert (told["kind"], told["rate"]) == ("pair", 0.4)
    assert told["observed_noise_rate"] == np.mean(noisy != labels)
    expected = [np.mean(noisy[labels == c] != c) for c in range(4)]
    assert told["noise_rate_of_class"][:4] == pytest.approx(expected)
    assert told["noise_rate_of_class"][4] is None
    assert told["observed_matrix"][2][3] == pytest.approx(np.mean(noisy[labels == 2] == 3))


def centre_colours(image, num_classes):
    """The colour near the lower left corner of each cell, where no text stands."""
    pixels = np.asarray(image).astype(int)
    cell = max(560 // num_classes, 2)
    first = image.width - 6 - num_classes * cell
    at = first + np.arange(num_classes) * cell
    return pixels[np.ix_(at + cell - 2, at + 1)].sum(axis=2)


@pytest.mark.parametrize("num_classes", [3, 10, 100, 300])
def test_more_is_darker_in_the_right_cell(num_classes):
    colours = centre_colours(matrix_image(transition_matrix("pair", num_classes, 0.3)), num_classes)
    eye = np.eye(num_classes, dtype=bool)
    following = np.roll(eye, 1, axis=1)
    assert colours[eye].max() < colours[following].min()
    assert colours[following].max() < colours[~(eye | following)].min() == 3 * 255


def test_bad_names_and_matrices():
    with pytest.raises(ValueError, match="3 classes, got 2 names"):
        matrix_image(np.eye(3), ["a", "b"])
    with pytest.raises(ValueError, match="row 0"):
        matrix_image(np.full((2, 2), 0.6))
