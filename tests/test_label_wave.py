"""Label Wave: the counted changes, the minimum that is found, and its state."""

import numpy as np
import pytest

from selfie_train.methods.label_wave import LabelWave

N, K = 50, 4


def follow(wave, changes):
    """Let the predictions of `changes[e]` samples change in each epoch e after the first."""
    predicted = np.zeros(N, np.int64)
    for epoch, count in enumerate([0, *changes]):
        predicted[:count] = (predicted[:count] + 1) % K if epoch else 0
        order = np.random.default_rng(epoch).permutation(N)
        for part in np.array_split(order, 3):
            wave.record(part, predicted[part])
        wave.end_epoch()
        if wave.should_stop:
            return epoch
    return None


def test_changes_are_counted_from_the_second_epoch_on():
    wave = LabelWave(N, K)
    follow(wave, [9, 4, 0, 50])
    assert wave.prediction_changes == [0, 9, 4, 0, 50]


@pytest.mark.parametrize(
    ("window", "patience", "changes", "best", "stop"),
    [
        (1, 2, [30, 20, 10, 12, 14, 9], 3, 5),  # the first local minimum, not the later one
        (1, 4, [30, 20, 10, 12, 14, 9, 20, 20, 20, 20], 6, 10),
        (3, 2, [30, 20, 10, 12, 14, 30, 30], 5, 7),  # the window 10, 12, 14 ends in epoch 5
        (3, 2, [30, 20], None, None),
        (1, 3, [30, 20, 10, 5], 4, None),  # still falling
    ],
)
def test_the_first_local_minimum_of_the_moving_average_is_found(window, patience, changes, best, stop):
    wave = LabelWave(N, K, window=window, patience=patience)
    assert follow(wave, changes) == stop
    assert wave.best_epoch == best


def test_it_goes_on_from_its_state():
    one, other = LabelWave(N, K, window=1), LabelWave(N, K, window=1)
    follow(one, [9, 4])
    one.record(np.arange(10), np.full(10, 2))
    other.load_state_dict(one.state_dict())
    for wave in (one, other):
        wave.record(np.arange(10, N), np.full(N - 10, 3))
        wave.end_epoch()
    assert one.prediction_changes == other.prediction_changes
    with pytest.raises(ValueError):
        LabelWave(N + 1, K).load_state_dict(one.state_dict())
    with pytest.raises(ValueError, match="patience must be at least 1, got 0"):
        LabelWave(N, K, patience=0)
