"""The review page in a browser: real key presses, mouse and touch, what it keeps, exports and imports."""

import csv
import io
import json
import re

import numpy as np
import pytest
from browser import chromium, open_page
from reviewing import findings

from selfie_io.records.csv_cells import original_cell
from selfie_train.report.review import write_review

COLUMNS = ["name", "record_id", "index", "given_label", "decision", "label", "note"]


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture
def page_of(tmp_path):
    def write(*arguments, **changes):
        write_review(tmp_path / "review.html", findings(*arguments, **changes))
        return tmp_path / "review.html"

    return write


def exported(page, tmp_path):
    """decisions.csv as exported, as text and as rows by column."""
    with page.expect_download() as download:
        page.keyboard.press("e")
    assert download.value.suggested_filename == "decisions.csv"
    download.value.save_as(tmp_path / "decisions.csv")
    text = (tmp_path / "decisions.csv").read_bytes().decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert not rows or list(rows[0]) == COLUMNS
    return text, [{key: original_cell(value) for key, value in row.items()} for row in rows]


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def shown(page):
    return page.locator("#shown").inner_text()


def test_keys_decide_and_the_decisions_are_exported(browser, page_of, tmp_path):
    with open_page(browser, page_of(40)) as page:
        press(page, "k", "s", "3", "d", "u")
        assert page.locator("#findings-left").inner_text() == "35"
        _, rows = exported(page, tmp_path)
    assert [(row["decision"], row["label"]) for row in rows] == [
        ("keep", "0"),
        ("relabel", "2"),  # finding 1: dog -> bird
        ("keep", "2"),  # finding 2 is given bird, the class of key 3
        ("drop", "-1"),
        ("unsure", "1"),
    ]
    assert [row["index"] for row in rows] == ["0", "2", "4", "6", "8"]
    assert [row["record_id"] for row in rows] == ["100", "101", "102", "103", "104"]
    assert [row["given_label"] for row in rows] == ["0", "1", "2", "0", "1"]
    assert rows[3]["name"] == "train/cat/0003.png"


def test_undo_takes_back_one_step_also_of_many_findings(browser, page_of, tmp_path):
    with open_page(browser, page_of(40)) as page:
        press(page, "s", "d", "z")
        _, rows = exported(page, tmp_path)
        assert [row["index"] for row in rows] == ["0"]
        page.fill("#top-n", "10")
        page.click("#accept-top")
        assert len(exported(page, tmp_path)[1]) == 11
        press(page, "Control+z")
        assert len(exported(page, tmp_path)[1]) == 1
        press(page, "z", "z")
        text, rows = exported(page, tmp_path)
        assert text == ",".join(COLUMNS) + "\r\n"
        assert rows == []


def test_the_expected_effect_follows_each_decision(browser, page_of):
    with open_page(browser, page_of(40)) as page:
        assert page.locator("#wrong-left").inner_text() == "20 (22.2 %)"
        press(page, *"sssss")
        left = 20 - np.round(np.linspace(0.99, 0.51, 40)[:5], 4).sum()
        assert page.locator("#wrong-left").inner_text() == f"{left:.0f} ({left / 90:.1%}".replace("%", " %)")
        assert "5 relabelled, 0 kept, 0 dropped, 0 unsure; 100 % as suggested" in page.inner_text("#effect")
        press(page, "u")
        assert page.locator("#wrong-left").inner_text().startswith(f"{left:.0f} ")


def test_single_view_shows_why_and_moves_to_the_next_undecided(browser, page_of, tmp_path):
    words = ["exact duplicate of train/dog/7.png, labelled dog", *[""] * 39]
    with open_page(browser, page_of(40, duplicates=words)) as page:
        press(page, "Enter")
        text = page.inner_text("#single")
        assert "1 of 40" in text
        assert "train/cat/0000.png, record 100, index 0" in text
        assert "cat → dog" in text
        assert "features: 4 of 5 neighbours have another label" in text
        assert "exact duplicate of train/dog/7.png" in text
        assert "training:" not in text  # it found nothing here
        press(page, "ArrowRight", "s", "ArrowLeft", "ArrowLeft", "k")
        assert "3 of 40" in page.inner_text("#single")  # the second is decided
        page.fill("#single-note", "=looks odd")
        press(page, "Enter", "d", "Escape")
        assert page.locator("#grid").is_visible()
        text, rows = exported(page, tmp_path)
    assert "'=looks odd" in text
    assert [(row["index"], row["decision"], row["note"]) for row in rows] == [
        ("0", "keep", ""),
        ("2", "relabel", ""),
        ("4", "drop", "=looks odd"),
    ]


def test_many_are_selected_by_keys_and_by_mouse(browser, page_of, tmp_path):
    with open_page(browser, page_of(40)) as page:
        press(page, "Shift+ArrowRight", "Shift+ArrowRight", "d")
        page.locator("#tile-10 .box").click()
        page.locator("#tile-12 .box").click(modifiers=["Shift"])
        page.click("#keep")
        _, rows = exported(page, tmp_path)
        assert [row["index"] for row in rows] == ["0", "2", "4", "20", "22", "24"]
        assert [row["decision"] for row in rows] == ["drop"] * 3 + ["keep"] * 3
        page.locator("#tile-20 canvas").click()
        assert "21 of 40" in page.inner_text("#single")


def test_filters_sort_and_the_matrix(browser, page_of, tmp_path):
    with open_page(browser, page_of(40)) as page:
        page.get_by_role("button", name="given cat, suggested dog: 14 undecided").click()
        assert shown(page) == "14 of 40 findings"
        page.fill("#top-n", "3")
        page.click("#accept-top")
        assert page.get_by_role("button", name="given cat, suggested dog: 11 undecided").is_visible()
        page.select_option("#filter-status", "open")
        assert shown(page) == "11 of 40 findings"
        page.click("#filter-clear")
        page.select_option("#filter-source", label="training")
        assert shown(page) == "20 of 40 findings"
        page.click("#filter-clear")
        page.fill("#filter-name", "DOG/000")
        assert shown(page) == "3 of 40 findings"
        page.fill("#filter-name", "107")
        assert shown(page) == "1 of 40 findings"
        page.click("#filter-clear")
        page.fill("#filter-low", "0.9")
        assert shown(page) == "8 of 40 findings"
        page.click("#filter-clear")
        page.select_option("#sort", "score-up")
        page.locator("#grid").focus()
        press(page, "Home", "d")
        _, rows = exported(page, tmp_path)
    assert [row["index"] for row in rows if row["decision"] == "drop"] == ["78"]


def test_decisions_are_kept_by_the_browser_for_this_data_alone(browser, tmp_path):
    write_review(tmp_path / "a.html", findings(20))
    write_review(tmp_path / "b.html", findings(20, digest="d2"))
    with open_page(browser, tmp_path / "a.html") as page:
        press(page, "s", "d", "Enter")
        page.fill("#single-note", "note\nof mine")
        page.goto((tmp_path / "b.html").as_uri())
        assert page.locator("#findings-left").inner_text() == "20"
        page.goto((tmp_path / "a.html").as_uri())
        assert page.locator("#findings-left").inner_text() == "18"
        assert page.locator("#tile-1").get_attribute("data-decision") == "drop"
        kept = page.evaluate("localStorage.getItem('selfie-review d1')")
        assert [entry[:4] for entry in json.loads(kept)["decisions"][:2]] == [
            [0, 100, "relabel", 1],
            [2, 101, "drop", -1],
        ]
        page.evaluate("localStorage.setItem('selfie-review d1', '{damaged')")
        page.reload()
        assert page.locator("#findings-left").inner_text() == "20"


def test_where_storage_is_refused_the_page_works_and_says_so(browser, page_of, tmp_path):
    path = page_of(20)
    refuse = "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no'); }})"
    with browser.new_context() as session:
        page = session.new_page()
        page.add_init_script(refuse)
        page.goto(path.as_uri())
        assert "does not keep decisions" in page.inner_text("#warning")
        press(page, "s", "k")
        assert len(exported(page, tmp_path)[1]) == 2


def test_an_export_is_imported_again(browser, page_of, tmp_path):
    names = ["=1+1", "-x", "@y", "\t\u200bz", "'=q", "'a", 'a"b,c;d', "new\nline", "+p", "plain"]
    path = page_of(10, name=names)
    with open_page(browser, path) as page:
        press(page, *"ksdu2sk")
        text, rows = exported(page, tmp_path)
        assert [row["name"] for row in rows] == names[:7]
        assert not re.search(r"(^|\n|,)\"?[=+@\t]", text)
        press(page, "Control+z", "Control+z")
        page.evaluate("localStorage.clear()")
    with open_page(browser, path) as page:
        page.set_input_files("#import-file", tmp_path / "decisions.csv")
        page.wait_for_function("document.getElementById('findings-left').textContent === '3'")
        assert exported(page, tmp_path)[0] == text
        press(page, "z")
        assert page.locator("#findings-left").inner_text() == "10"


def test_an_import_says_what_it_leaves_out(browser, page_of, tmp_path):
    (tmp_path / "other.csv").write_text(
        "\ufeffdecision;label;record_id;given_label\nrelabel;bird;100;cat\nkeep;;101;0\ndrop;;999;\nburn;;103;\n"
        "relabel;fish;104;\n",
        encoding="utf-8",
    )
    with open_page(browser, page_of(10)) as page:
        page.set_input_files("#import-file", tmp_path / "other.csv")
        page.wait_for_function("!document.getElementById('warning').hidden")
        warning = page.inner_text("#warning")
        assert "4 rows of other.csv left out" in warning
        assert "row 3: another given label; row 4: no finding of this page; row 5: the decision" in warning
        rows = exported(page, tmp_path)[1]
    assert [(row["index"], row["label"]) for row in rows] == [("0", "2")]


def test_no_name_is_run_or_shown_as_markup(browser, page_of):
    evil = "</script><script>window.hit=1</script><img src=x onerror='window.hit=2'>"
    path = page_of(
        10,
        classes=(evil, "b\u202e", "\ud800c"),
        title=evil,
        name=[evil] * 10,
        sources={evil: [evil] * 10},
        duplicates=[evil] * 10,
    )
    with open_page(browser, path) as page:
        press(page, "Enter", "ArrowRight", "c")
        page.keyboard.type("b")
        press(page, "Enter")
        assert page.evaluate("window.hit") is None
        assert page.title() == evil
        assert page.locator("img").count() == 0
        assert evil in page.inner_text("#single-why")


def test_the_images_are_those_of_the_records(browser, page_of):
    data = findings(300)
    neighbours = np.stack([2 * np.arange(300), np.full(300, -1)], 1)
    images = np.repeat(data.images, 2, axis=0)
    path = page_of(
        300,
        images=lambda positions: images[positions],
        neighbours=neighbours,
        neighbour_labels=np.where(neighbours < 0, -1, 0),
    )
    read = """canvas => Array.from(canvas.getContext('2d').getImageData(0, 0, 8, 8).data)"""
    with open_page(browser, path) as page:
        press(page, "End", "Enter")
        page.wait_for_timeout(300)
        pixels = np.array(page.locator("#large").evaluate(read)).reshape(8, 8, 4)
        np.testing.assert_array_equal(pixels[..., :3].transpose(2, 0, 1), data.images[299])
        near = page.locator("#single-neighbours canvas")
        assert near.count() == 1
        lossy = np.array(near.evaluate(read)).reshape(8, 8, 4)[..., :3].transpose(2, 0, 1).astype(int)
        assert np.abs(lossy - data.images[299]).mean() < 90  # noise, at the quality of a context image


def test_sheets_beside_the_page_are_drawn_and_missed(browser, tmp_path):
    data = findings(300)
    written = write_review(tmp_path / "set one.html", data, embedded_bytes=1000)
    assert [path.name for path in written] == ["set one.html", "set one_images"]
    with open_page(browser, tmp_path / "set one.html") as page:
        page.wait_for_timeout(300)
        assert page.locator("#warning").is_hidden()
        assert page.evaluate("document.querySelector('.tile canvas').width") == 8
    for sheet in written[1].iterdir():
        sheet.unlink()
    with browser.new_context() as session:
        page = session.new_page()
        page.goto((tmp_path / "set one.html").as_uri())
        page.wait_for_function("!document.getElementById('warning').hidden")
        assert "set one_images/findings-00000.webp must lie beside" in page.inner_text("#warning")


def test_a_narrow_touch_screen_has_everything_in_reach(browser, page_of, tmp_path):
    narrow = {"viewport": {"width": 360, "height": 640}, "has_touch": True, "color_scheme": "dark"}
    with open_page(browser, page_of(40), **narrow) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.locator("#tile-1 canvas").tap()
        page.locator("#suggestion").tap()
        page.locator("#drop").tap()
        page.locator("#digits button").first.tap()
        for button in page.locator("footer button:visible").all()[:8]:
            box = button.bounding_box()
            assert box["y"] + box["height"] <= 640
            assert box["height"] >= 30
        page.locator("#undo").tap()
        _, rows = exported(page, tmp_path)
    assert [(row["index"], row["decision"]) for row in rows] == [("2", "relabel"), ("4", "drop")]


def test_more_than_ten_classes_have_their_likeliest_at_the_digits(browser, page_of, tmp_path):
    classes = tuple(f"class {i}" for i in range(100))
    with open_page(browser, page_of(200, classes=classes)) as page:
        assert page.locator("#digits button").first.inner_text().split() == ["1", "class", "1"]
        press(page, "1", "c")
        page.keyboard.type("class 77")
        press(page, "Enter")
        assert page.locator("#matrix li").count() == 60
        _, rows = exported(page, tmp_path)
    assert [(row["index"], row["label"]) for row in rows] == [("0", "1"), ("2", "77")]


def test_classes_that_are_called_by_digits_have_their_own_keys(browser, page_of, tmp_path):
    with open_page(browser, page_of(20, classes=("0", "1", "2", "3"))) as page:
        press(page, "3", "0", "9")
        _, rows = exported(page, tmp_path)
    assert [(row["index"], row["label"]) for row in rows] == [("0", "3"), ("2", "0")]


def test_a_screen_reader_is_told(browser, page_of):
    with open_page(browser, page_of(40)) as page:
        grid = page.get_by_role("listbox", name="Findings")
        assert grid.get_attribute("aria-activedescendant") == "tile-0"
        press(page, "ArrowRight")
        assert grid.get_attribute("aria-activedescendant") == "tile-1"
        option = page.locator("#tile-1")
        assert option.get_attribute("aria-label") == (
            "train/dog/0001.png: given dog, suggested bird, 98 % likely wrong, undecided"
        )
        assert (option.get_attribute("aria-setsize"), option.get_attribute("aria-posinset")) == ("40", "2")
        press(page, "s")
        assert page.inner_text("#live") == "relabelled bird"
        unnamed = page.evaluate(
            """[...document.querySelectorAll('button, input, select, progress')].filter(
            e => !(e.labels && e.labels.length) && !e.ariaLabel && !e.textContent.trim()).map(e => e.id)"""
        )
        assert unnamed == []


def test_no_finding_is_no_error(browser, page_of):
    with open_page(browser, page_of(0)) as page:
        assert "there is nothing to review" in page.inner_text("#empty")
        press(page, *"ksdu1zneac")
        press(page, "Enter", "Escape", "End")
