"""The tutorial's commands and programs run as they stand, then those of docs/use.md."""

from pathlib import Path

import pytest
from test_docs_guides import blocks, run_page

from selfie_train import registry


@pytest.mark.slow
@pytest.mark.timeout(1200)  # a dozen trainings and a launch of processes, perhaps on a busy machine
@pytest.mark.usefixtures("shared_embeddings")
def test_the_tutorial_runs_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for table in ("METHODS", "MODELS"):  # what the programs register is forgotten afterwards
        monkeypatch.setattr(registry, table, dict(getattr(registry, table)))
    assert {kind for kind, _ in blocks("tutorial")} == {"sh", "python", "json"}
    run_page("tutorial")
    for made in (
        "runs/compared/table.csv",
        "runs/audited/issues.csv",
        "runs/patient/summary.json",
        "runs/grid/report.html",
    ):
        assert Path(made).exists(), made
    assert Path("runs/two/summary.json").exists()
    run_page("use")
    assert Path("exported-onnx/network.onnx").exists()
    assert len(Path("sevens.csv").read_text().splitlines()) > 20
