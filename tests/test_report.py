"""Reports and comparisons: figures that are right, pages that stand alone."""

import base64
import csv
import io
import re
import sys
from importlib import import_module

import numpy as np
import pytest
from PIL import Image
from training import small

import selfie_io as sio
import selfie_train
from selfie_train import train
from selfie_train.commands.compare import compare
from selfie_train.report.outcome import confusion_sections
from selfie_train.report.page import Gallery, GalleryImage, Table, write_page
from selfie_train.report.plots import Curve, draw_curves
from selfie_train.runs.comparison import group_runs, read_run
from selfie_train.runs.confusion import Confusion, read_confusion
from selfie_train.runs.last_choices import CHOICES, KEPT, REFURBISHED, choice_codes, read_sample_labels
from selfie_train.runs.log import COLUMNS
from selfie_train.runs.paper_errors import NOISE_RATES, paper_error, paper_errors
from selfie_train.runs.result import restart_notes
from selfie_train.training.run_log import RunLog


def assert_stands_alone(page):
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)
    assert "http-equiv" not in page
    assert "<script" not in page
    assert "prefers-color-scheme: dark" in page


def test_a_run_report_shows_its_figures_and_refurbished_images(digits, tmp_path):
    result = train(small(digits, tmp_path / "run", history=1), quiet=True)
    page = (result.folder / "report.html").read_text()
    assert_stands_alone(page)
    assert f"{result.summary['best_test_error']:.2f} %" in page
    dataset = sio.open_dataset(digits)
    given, new = result.labels.given, result.refurbished_labels
    first = int(np.flatnonzero((new >= 0) & (new != given))[0])
    caption = re.search(rf"<s>(\d)</s> &rarr; <b class=\"(\w+)\">(\d)</b>[^<]*<small>record {first}<", page)
    assert caption.groups() == (
        str(given[first]),
        "right" if new[first] == dataset.train.labels[first] else "wrong",
        str(new[first]),
    )
    gallery = page.split("Refurbished labels: given")[1]
    png = re.search(r"data:image/png;base64,([^\"]+)", gallery)[1]
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))
    np.testing.assert_array_equal(image, dataset.train.images([first])[0, 0])

    counts = result.confusion
    assert counts.last.sum() == counts.best.sum() == len(dataset.test)
    assert counts.last.sum(axis=1).tolist() == np.bincount(dataset.test.labels, minlength=10).tolist()
    for found, error in ((counts.last, "last_test_error"), (counts.best, "best_test_error")):
        wrong = 100 * (1 - np.trace(found) / len(dataset.test))
        assert wrong == pytest.approx(result.summary[error])
    stored = read_confusion(result.folder, 10)
    np.testing.assert_array_equal(stored.last, counts.last)
    np.testing.assert_array_equal(stored.best, counts.best)
    assert "predicted class &rarr;" in page
    assert "Test error, last ten epochs" not in page
    read = read_sample_labels(result.folder)
    np.testing.assert_array_equal(read.choices, result.choices)
    np.testing.assert_array_equal(read.clean, dataset.train.labels)
    for word, code in (("learnt with their given label", KEPT), ("learnt with another label", REFURBISHED)):
        assert f"{(result.choices == code).sum():,} of 1,438 samples were {word}" in page
    (result.folder / "confusion.csv").write_text("weights,label,predicted_label,predictions\nlast,0,10,1\n")
    (tmp_path / "out").mkdir()
    compare([result.folder], tmp_path / "out")
    compared = (tmp_path / "out" / "report.html").read_text()
    assert "must be the confusion.csv of a run" in compared
    assert "last 10" not in compared


def test_what_became_of_a_sample_is_told_by_target_and_weight():
    rng = np.random.default_rng(0)
    given, targets = rng.integers(0, 3, (2, 60))
    weights = rng.integers(0, 2, 60).astype(np.float32)
    clean = rng.random(60) < 0.5
    expected = [
        "dropped" if not weight else "kept" if target == label else "refurbished"
        for label, target, weight in zip(given, targets, weights, strict=True)
    ]
    for kind in (targets, np.eye(3, dtype=np.float32)[targets] * 0.9):
        codes = choice_codes(given, kind, weights, clean)
        assert [CHOICES[code] for code in codes] == expected
    of_mixtures = choice_codes(given, None, np.ones(120, np.float32), clean)
    assert [CHOICES[code] for code in of_mixtures] == ["kept" if one else "unlabelled" for one in clean]


def test_many_classes_are_told_by_their_most_frequent_confusions():
    counts = np.diag(np.full(40, 5))
    counts[3, 7] = 15
    (table,) = confusion_sections(Confusion(None, counts), [f"c{i}" for i in range(40)], known_clean=False)
    assert table.columns[0] == "given class"
    assert table.rows == [("c3", "c7", "15", "75.0%")]
    assert confusion_sections(Confusion(None, None), ["a"], known_clean=True) == []


def test_epochs_lines_fit_80_columns(tmp_path, capsys):
    log = RunLog(tmp_path, is_first=True, quiet=False, tensorboard=False)
    row = dict.fromkeys(COLUMNS, 1.0) | {"epoch": 12345, "run": 12, "lr": 0.0001234, "test_error": 100.0}
    log.hold_row(row | {"train_error": 100.0, "train_loss": 123.4567}, 1234567, [])
    log.write_row()
    log.hold_row(row | dict.fromkeys(["test_error", "test_loss", "label_precision"]), 12, [])
    log.write_row()
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[-1] for line in lines] == ["images/s", "1,234,567", "12"]


def test_without_the_extra_a_run_ends_well_and_says_what_to_install(digits, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    for name in [name for name in sys.modules if name.startswith("selfie_train.report")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(selfie_train, "report", selfie_train.report)  # the import below is undone, too
    result = train(small(digits, tmp_path / "run", epochs=1, warmup=0))
    assert "pip install 'selfie-io[report]'" in capsys.readouterr().out
    assert (result.folder / "summary.json").exists()
    assert not (result.folder / "report.html").exists()


def test_text_is_escaped_and_missing_verdicts_are_not_claimed(tmp_path):
    sections = [
        Table("A <b>", ("x", "y"), [("<script>", "1 & 2")]),
        Gallery("Images", [GalleryImage("QUJD", "<cat>", "dog")]),
    ]
    write_page(tmp_path / "page.html", "T <i>", "lead", sections)
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "&lt;cat&gt;" in page
    assert "&#10003;" not in page
    assert "&#10007;" not in page


def test_a_page_shows_control_characters_and_bidi_marks_as_text(tmp_path):
    name, shown = "a\x1b[31m\u202eb\xa0c", "a\\x1b[31m\\u202eb\xa0c"
    table = Table(name, [name], [[name]], name)
    write_page(tmp_path / "x.html", name, name, [table])
    page = (tmp_path / "x.html").read_text()
    assert page.count(shown) >= 6
    assert not set(page) & {"\x1b", "\u202e"}


def test_curves_take_the_colour_of_the_text_and_are_reproducible():
    panels = [
        (
            "Error",
            "%",
            [Curve("one", [1, 2, 3], [3.0, None, 1.0]), Curve("two", [1, 2], [1.0, 2.0], 1, dashed=True)],
        )
    ]
    svg = draw_curves(panels)
    assert svg.startswith("<svg")
    assert svg == draw_curves(panels)
    assert "currentColor" in svg
    assert "#010203" not in svg
    assert ">one<" in svg


def test_epochs_are_integers_and_a_point_between_gaps_is_seen():
    svg = draw_curves([("Error", "%", [Curve("one", [1, 2], [3.0, 1.0])])])
    below = svg.split('id="matplotlib.axis_2"')[0]
    assert re.findall("<text[^>]*>([^<]*)<", below) == ["1", "2", "epoch"]
    gaps = draw_curves([("Error", "%", [Curve("one", [1, 2, 3], [None, 2.0, None])])])
    whole = draw_curves([("Error", "%", [Curve("one", [1, 2, 3], [1.0, 2.0, 3.0])])])
    marks = [svg.split("legend_1")[0].split("axis_2")[1].count("clip-path") for svg in (gaps, whole)]
    assert marks[0] > marks[1]


def test_a_comparison_averages_over_seeds_and_counts_what_is_unfinished(digits, tmp_path):
    runs = [train(small(digits, tmp_path / f"s{seed}", seed=seed), quiet=True) for seed in (0, 1)]
    train(small(digits, tmp_path / "d", method="default"), quiet=True)
    begun = train(small(digits, tmp_path / "s2", seed=2, epochs=2), quiet=True)
    (begun.folder / "summary.json").unlink()
    folders = [tmp_path / name for name in ("s1", "s0", "d", "s2")]
    groups = compare(folders, tmp_path / "out")
    assert [(group.config.method, len(group.finished), len(group.runs)) for group in groups] == [
        ("selfie", 2, 3),
        ("default", 1, 1),
    ]
    errors = [run.summary["last_test_error"] for run in runs]
    mean, deviation = groups[0].figure("last_test_error")
    assert mean == pytest.approx(np.mean(errors))
    assert deviation == pytest.approx(abs(errors[0] - errors[1]) / 2**0.5)
    assert groups[1].figure("last_test_error")[1] is None
    assert groups[1].figure("label_precision") is None
    with (tmp_path / "out" / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["selfie", "default"]
    assert float(rows[0]["last_test_error"]) == pytest.approx(mean)
    assert rows[1]["label_precision"] == rows[0]["paper_best_error"] == ""
    page = (tmp_path / "out" / "report.html").read_text()
    assert_stands_alone(page)
    assert f"{mean:.2f} ± {deviation:.2f}" in page


def test_runs_of_other_settings_are_never_averaged(digits, tmp_path):
    folders = []
    for number, options in enumerate(
        [{"epochs": 1}, {"epochs": 2}, {"epochs": 1, "seed": 1}, {"epochs": 1, "lr": 0.05}]
    ):
        out = tmp_path / str(number)
        folders.append(train(small(digits, out, method="default", **options), quiet=True).folder)
    groups = group_runs([read_run(folder) for folder in folders])
    assert [[run.folder.name for run in group.runs] for group in groups] == [["0", "2"], ["1"], ["3"]]
    with pytest.raises(ValueError, match="needs at least one"):
        compare([], tmp_path / "out")
    with pytest.raises(FileNotFoundError):
        compare([tmp_path / "none"], tmp_path / "out")


def test_the_papers_figures_by_name():
    assert paper_error("densenet-25-12", "cifar10", "pair", 0.4, "selfie") == 13.3
    assert paper_error("vgg-19", "cifar100", "symmetric", 0.2, "co-teaching") == 47.6
    assert paper_error("vgg-19", "cifar10", "pair", 0.4, "co-teaching") is None
    assert paper_error("vgg-19", "animal-10n", "none", None, "selfie") == 18.4
    assert paper_error("convnet", "cifar10", "pair", 0.4, "selfie") is None
    assert len(paper_errors("densenet-25-12", "tiny-imagenet", "pair", "default")) == len(NOISE_RATES)


def test_a_restart_that_lowered_the_label_precision_is_told(digits, tmp_path, monkeypatch, capsys):
    rows = [
        {"run": run, "label_precision": value} for run, value in [(0, 0.5), (0, 0.9), (1, 0.95), (1, 0.7)]
    ]
    (note,) = restart_notes(rows)
    assert note.startswith("restart 1 lowered the label precision from 0.900 to 0.700: ")
    assert "--restarts 0" in note
    assert restart_notes(rows[:3]) == []
    assert restart_notes([{"run": run, "label_precision": None} for run in (0, 1)]) == []
    monkeypatch.setattr("selfie_train.training.result_files.restart_notes", lambda _: [note])
    page = import_module("selfie_train.report.run")  # another test may have unloaded it
    monkeypatch.setattr(page, "restart_notes", lambda _: [note])
    result = train(small(digits, tmp_path / "run", epochs=1, warmup=0))
    assert note in capsys.readouterr().out
    assert note[1:] in (result.folder / "report.html").read_text()
