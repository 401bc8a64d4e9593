"""A plan run by a local Ray cluster gives the same bytes as one pack (where the extra [ray] is installed)."""

import numpy as np
import pytest
from converting import as_zip, encoded, run

from selfie_io.termination import sigterm_handler_kept

ray = pytest.importorskip("ray")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_plan_on_a_local_cluster(tmp_path):
    from selfie_io.convert.ray import run_plan

    rng = np.random.default_rng(0)
    members = {
        f"{split}/{name}/{number:02d}.png": encoded(rng.integers(0, 256, (5, 4, 3), "u1"))
        for split in ("train", "test")
        for name in ("cat", "dog")
        for number in range(10)
    }
    source = as_zip(tmp_path / "source.zip", members)
    options = ("--records-per-file", 4, "--name", "same")
    assert run("pack", source, tmp_path / "whole", *options) == 0
    assert run("plan", source, tmp_path / "plan.json", "--shards", 3, *options) == 0
    with sigterm_handler_kept():
        ray.init(num_cpus=2, include_dashboard=False)
    try:
        assert run_plan(tmp_path / "plan.json") == 0
    finally:
        ray.shutdown()
    whole, planned = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("whole", "plan")
    )
    assert planned == whole


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_shard_that_fails_says_so(tmp_path):
    from selfie_io.convert.ray import run_plan

    good = encoded(np.zeros((4, 4, 3), np.uint8))
    source = as_zip(tmp_path / "source.zip", {"train/a/0.png": good, "train/a/1.png": b"?"})
    assert run("plan", source, tmp_path / "plan.json", "--shards", 2) == 0
    with sigterm_handler_kept():
        ray.init(num_cpus=2, include_dashboard=False)
    try:
        with pytest.raises(ValueError, match=r"train/a/1.png: is not an image"):
            run_plan(tmp_path / "plan.json")
    finally:
        ray.shutdown()
    assert not (tmp_path / "plan").exists()
