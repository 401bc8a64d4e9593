"""The review page as written: what is refused, how images are packed, what a spreadsheet may compute."""

import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from reviewing import findings

from selfie_io.records.csv_cells import harmless_cell, original_cell
from selfie_train.report.review import write_review
from selfie_train.report.sprites import SheetLayout, displayed, draw_sheets


@given(st.text() | st.text("='+-@\t\ra", max_size=4))
def test_a_harmless_cell_is_read_back_and_computes_nothing(text):
    cell = harmless_cell(text)
    assert original_cell(cell) == text
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    out = io.StringIO()
    csv.writer(out).writerow([cell, "x"])
    assert next(csv.reader(io.StringIO(out.getvalue(), newline="")))[0] == cell


def test_cells_of_others_stay_as_they_are():
    assert [original_cell(cell) for cell in ("=1", "'a", "a'", "")] == ["=1", "'a", "a'", ""]


@pytest.mark.parametrize(("shape", "count"), [((3, 8, 8), 300), ((1, 5, 9), 1), ((3, 300, 200), 13)])
def test_every_image_lies_at_its_place_in_a_sheet(shape, count):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    layout = SheetLayout(count, *shape[1:])
    sheets = list(draw_sheets(layout, lambda numbers: pixels[numbers], fine=True))
    assert len(sheets) == layout.sheets
    wanted = displayed(pixels)
    height, width = shape[1:]
    for number in (0, count // 2, count - 1):
        sheet = np.asarray(Image.open(io.BytesIO(sheets[number // layout.per_sheet][0])).convert("RGB"))
        row, column = divmod(number % layout.per_sheet, layout.columns)
        got = sheet[row * height : (row + 1) * height, column * width : (column + 1) * width]
        if max(shape[1:]) <= 64:
            np.testing.assert_array_equal(got, wanted[number])
        else:
            assert got.shape == wanted[number].shape


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"given": np.arange(4)}, "given must hold integers in 0..2"),
        ({"suggested": np.arange(3)}, "suggested must have the shape"),
        ({"score": np.full(4, 1.5)}, "score must be in 0..1"),
        ({"score": np.full(4, np.nan)}, "score must be in 0..1"),
        ({"index": np.zeros(4, int)}, "distinct positions"),
        ({"records": 3}, "records must count the whole"),
        ({"name": ["a"]}, "name must have one text for each of 4"),
        ({"sources": {"x": ["a"]}}, r"sources\['x'\] must have one text"),
        ({"neighbours": np.zeros((4, 2), int)}, "one is missing"),
        ({"images": np.zeros((3, 3, 8, 8), np.uint8)}, "images must be"),
        ({"top_probabilities": np.zeros((4, 2))}, "top_probabilities must have the shape"),
        ({"class_names": ()}, "at least one class"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        findings(4, **changes)


def test_the_page_holds_all_and_a_folder_of_an_earlier_page_goes(tmp_path):
    path = tmp_path / "review.html"
    assert write_review(path, findings(30), embedded_bytes=0) == [path, tmp_path / "review_images"]
    assert [file.name for file in (tmp_path / "review_images").iterdir()] == ["findings-00000.webp"]
    assert write_review(path, findings(30)) == [path]
    assert [file.name for file in tmp_path.iterdir()] == ["review.html"]
    html = path.read_text()
    assert "Content-Security-Policy" in html
    assert "http" + "://" not in html
    assert "https" + "://" not in html
    first = path.read_bytes()
    write_review(path, findings(30))
    assert path.read_bytes() == first
