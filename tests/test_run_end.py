"""A run never loses its results: figures come last, a full disk or a read-only data set is a line."""

import errno
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from safetensors import SafetensorError
from training import assert_same_files, pack, pixels_and_labels, small

import selfie_train.commands.audit
import selfie_train.report.run
import selfie_train.training.checkpoint as checkpoints
from selfie_train import resume, train
from selfie_train.cli import main
from selfie_train.commands.audit import audit
from selfie_train.commands.compare import compare

QUICK = {"epochs": 2, "warmup": 1, "history": 1, "batch_size": 16}


@pytest.fixture
def data(tmp_path):
    pack(tmp_path / "data", *pixels_and_labels())
    return tmp_path / "data"


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "TkAgg", "no-such-backend"])
def test_figures_need_no_backend(data, tmp_path, backend):
    environment = {**os.environ, "MPLBACKEND": backend, "OMP_NUM_THREADS": "1"}
    options = ["--model=convnet", "--method=default", "--epochs=1", "--noise=pair:0.4", "--batch-size=16"]
    run, table = tmp_path / "run", tmp_path / "table"
    command = [sys.executable, "-m", "selfie_train"]
    for arguments in (
        ["run", f"--dataset={data}", *options, f"--out={run}"],
        ["compare", str(run), f"--out={table}"],
    ):
        done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "no report.html" not in done.stdout + done.stderr
    assert "<svg" in (run / "report.html").read_text()
    assert (table / "report.html").exists()


@pytest.mark.parametrize(
    "error", [ValueError("Key backend"), OSError(28, "No space left"), RuntimeError("font")]
)
def test_a_report_that_fails_is_a_line_after_the_results(data, tmp_path, capsys, monkeypatch, error):
    def fail(*_, **__):
        assert (tmp_path / "run" / "summary.json").exists()  # the results do not wait for figures
        raise error

    with monkeypatch.context() as patched:
        for module in (selfie_train.report.run,):
            patched.setattr(module, "draw_curves", fail)
        result = train(small(data, tmp_path / "run", **QUICK))
    text = " ".join(capsys.readouterr().out.split())
    assert f"no report.html: {type(error).__name__}" in text
    assert not (result.folder / "report.html").exists()
    assert f"results: {result.folder}; next: selfie-train audit {result.folder} --out" in text
    assert resume(result.folder, quiet=True).log == result.log
    assert (result.folder / "report.html").exists()


def test_a_comparison_and_an_audit_survive_their_reports(data, tmp_path, monkeypatch):
    result = train(small(data, tmp_path / "run", **QUICK), quiet=True)
    import selfie_train.report.audit
    import selfie_train.report.comparison

    def fail(*_, **__):
        raise RuntimeError("no ink")

    said = []
    monkeypatch.setattr(selfie_train.report.audit, "write_page", fail)
    monkeypatch.setattr(selfie_train.report.comparison, "write_page", fail)
    compare([result.folder], tmp_path / "table", say=said.append)
    said += audit(result.folder, tmp_path / "audit").next_steps()
    assert [line for line in said if "no ink" in line] == [
        "no report.html: RuntimeError: no ink",
        "no audit.html: RuntimeError: no ink",
    ]
    assert (tmp_path / "table" / "table.csv").exists()
    assert (tmp_path / "audit" / "audit.json").exists()


def test_the_last_line_of_a_run_says_what_came_out_and_what_to_do(data, tmp_path, capsys):
    out = tmp_path / "my run"
    result = train(small(data, out, **QUICK))
    text = re.sub(r"\n(?! *(done|run|epoch))", " ", capsys.readouterr().out).strip()
    last = text.splitlines()[-1]
    assert last.startswith(f"done: test error last {result.log[-1]['test_error']:.2f} %, best")
    assert f"report: {out / 'report.html'}" in last
    command = shlex.split(last.split("next: ")[1])
    assert command[:2] == ["selfie-train", "audit"]
    assert main(command[1:]) == 0
    assert (tmp_path / "my run-audit" / "issues.csv").exists()


def full_disk(monkeypatch, when, error):
    """Let the checkpoint of call number `when` fail."""
    calls = []
    save = checkpoints.save_file

    def fail(arrays, path):
        calls.append(path)
        if len(calls) == when:
            path.write_bytes(b"half")
            if isinstance(error, OSError):
                error.filename = str(path)  # as the system tells it
            raise error
        save(arrays, path)

    monkeypatch.setattr(checkpoints, "save_file", fail)


@pytest.mark.parametrize("when", [1, 2])
@pytest.mark.parametrize(
    "error",
    [
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        OSError(errno.EROFS, os.strerror(errno.EROFS)),
    ],
    ids=["full", "quota", "read-only"],
)
def test_a_checkpoint_that_cannot_be_written_is_a_line_and_the_run_goes_on(
    data, tmp_path, monkeypatch, capsys, error, when
):
    options = {**QUICK, "checkpoint_batches": 2}
    train(small(data, tmp_path / "whole", **options), quiet=True)
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    with monkeypatch.context() as patched:
        full_disk(patched, when, error)
        command = [
            "run",
            f"--dataset={data}",
            "--model=convnet",
            "--noise=pair:0.4",
            "--restarts=0",
            "--variant=paper",
            *arguments,
        ]
        assert main([*command, f"--out={tmp_path / 'run'}"]) == 1
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1
    assert "No space left" in complaint or "Disk quota" in complaint or "Read-only" in complaint
    assert re.search(rf"{tmp_path / 'run'}/checkpoints/step-\d+\.(json|safetensors)", complaint)
    assert f"selfie-train resume {tmp_path / 'run'}" in complaint
    assert not list((tmp_path / "run" / "checkpoints").glob(".*"))
    resume(tmp_path / "run", quiet=True)
    assert_same_files(tmp_path / "whole", tmp_path / "run")


def test_an_audit_of_a_data_set_that_may_only_be_read_is_whole(data, tmp_path, monkeypatch):
    result = train(small(data, tmp_path / "run", **QUICK), quiet=True)
    from selfie_io.labels import overlay_writer

    write = overlay_writer.atomic_path

    def refuse(path, **options):
        if data in path.parents:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return write(path, **options)

    monkeypatch.setattr(overlay_writer, "atomic_path", refuse)
    said = audit(result.folder, tmp_path / "audit").next_steps()
    assert any("cannot be written (Permission denied)" in line and "copy them" in line for line in said)
    found = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert found["overlay_folder"] == str(tmp_path / "audit")
    assert (tmp_path / "audit" / "audit.html").exists()
    monkeypatch.undo()
    shutil.copytree(tmp_path / "audit" / "labels", data / "labels", dirs_exist_ok=True)
    from selfie_io import open_dataset

    for name in found["overlays"].values():
        assert len(open_dataset(data).train.labels_from(name)) == 48


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("selfie_train.cli", ["--help"]),
        ("selfie_train.cli", ["run", "--help"]),
        ("selfie_io.convert.cli", ["pack", "--help"]),
        ("selfie_io.convert.cli", ["--help"]),
    ],
)
def test_help_into_a_pipe_that_closes_is_silent(module, arguments):
    code = f"import sys; from {module} import main; sys.exit(main({arguments!r}))"
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stderr == ""


def test_a_run_whose_reader_has_gone_goes_on(data, tmp_path):
    run = tmp_path / "run"
    options = f"--dataset={data} --out={run} --model=convnet --method=default --epochs=40 --batch-size=16"
    command = f"{shlex.quote(sys.executable)} -m selfie_train run {options} --noise=pair:0.4 | head -2"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stderr == ""
    assert json.loads((run / "summary.json").read_text())["epochs"] == 40
