"""Open-set noise: which images are replaced by which, and that all else stays."""

import numpy as np
import pytest
from conftest import make_folder

from selfie_io.labels.open_set import replaced_images, write_open_set
from selfie_io.records.dataset import open_dataset
from selfie_io.records.verify import verify_folder


@pytest.fixture
def datasets(tmp_path):
    make_folder(tmp_path / "mine", shape=(1, 4, 4), train_files=(900, 1300), test=30)
    make_folder(tmp_path / "other", shape=(1, 4, 4), train_files=(800,), test=0, seed=1)
    return [open_dataset(tmp_path / name, shape=(1, 4, 4)) for name in ("mine", "other")]


def everything(split):
    return split.images(np.arange(len(split)))


def test_images_are_replaced_and_the_rest_stays(datasets, tmp_path):
    mine, other = datasets
    write_open_set(mine, other, 0.4, tmp_path / "out", seed=3)
    written = open_dataset(tmp_path / "out")
    assert not verify_folder(tmp_path / "out", deep=True).defects
    replaced = replaced_images(written)
    assert 0.35 < replaced.mean() < 0.45
    np.testing.assert_array_equal(everything(written.train)[~replaced], everything(mine.train)[~replaced])
    np.testing.assert_array_equal(written.train.labels, mine.train.labels)
    np.testing.assert_array_equal(everything(written.test), everything(mine.test))
    # Every foreign image is one of the other set, and none comes twice among as many indices as that has.
    pool = {image.tobytes(): index for index, image in enumerate(everything(other.train))}
    foreign = [pool[image.tobytes()] for image in everything(written.train)[replaced]]
    first = np.flatnonzero(replaced) < 800
    assert len(set(np.array(foreign)[first])) == first.sum()
    assert len(set(foreign)) > 500


def test_the_draw_hangs_on_seed_and_index_alone(datasets, tmp_path):
    mine, other = datasets
    for name, rate, seed in (("low", 0.2, 3), ("high", 0.4, 3), ("else", 0.4, 4)):
        write_open_set(mine, other, rate, tmp_path / name, seed=seed)
    low, high, different = (open_dataset(tmp_path / name) for name in ("low", "high", "else"))
    both = replaced_images(low)
    assert (replaced_images(high) >= both).all()  # a higher rate replaces more, and the same ones alike
    np.testing.assert_array_equal(everything(high.train)[both], everything(low.train)[both])
    assert (replaced_images(high) != replaced_images(different)).mean() > 0.3


def test_refusals(datasets, tmp_path):
    mine, other = datasets
    with pytest.raises(ValueError, match=r"\[0, 1\], got 2"):
        write_open_set(mine, other, 2, tmp_path / "out")
    make_folder(tmp_path / "large", shape=(1, 5, 5))
    with pytest.raises(ValueError, match=r"\(1, 4, 4\) and \(1, 5, 5\)"):
        write_open_set(mine, open_dataset(tmp_path / "large", shape=(1, 5, 5)), 0.1, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError):
        write_open_set(mine, other, 0.1, tmp_path / "out")
    with pytest.raises(ValueError, match="not written with open-set noise"):
        replaced_images(mine)
