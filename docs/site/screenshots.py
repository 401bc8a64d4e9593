"""Draws the images of docs/audit.md: python docs/site/screenshots.py. Needs playwright and a Chromium.

The page shows scikit-learn's digits. A fifth got the next class; the nearest neighbours are the evidence.
"""

import io
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import selfie_io as sio
from selfie_io.convert.cli import main
from selfie_train.report.review import ReviewData, write_review

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))
NEIGHBOURS = 5
# name, width, height, colour scheme, keys
SHOTS = (
    (
        "review-grid",
        1280,
        760,
        "light",
        ["s", "s", "k", "d", "s", "ArrowDown", "Shift+ArrowRight", "Shift+ArrowRight"],
    ),
    ("review-one", 1280, 760, "dark", ["s", "s", "k", "Enter"]),
    ("review-narrow", 360, 700, "light", ["s", "k", "s"]),
)


def digits_review(folder):
    """The page's data: digits with pair noise, and how many of the nearest neighbours have another label."""
    main(["pack", "digits", str(folder / "digits"), "--workers", "1"])
    dataset = sio.open_dataset(folder / "digits")
    split = dataset.train
    given = sio.inject_noise(split.labels, sio.transition_matrix("pair", 10, 0.2), seed=0)
    pixels = split.images(np.arange(len(split))).reshape(len(split), -1).astype(np.float32)
    distances = (pixels**2).sum(1)[:, None] - 2 * pixels @ pixels.T + (pixels**2).sum(1)
    np.fill_diagonal(distances, np.inf)
    near = np.argsort(distances, axis=1)[:, :NEIGHBOURS]
    shares = np.eye(10)[given[near]].mean(1)
    score = 1 - shares[np.arange(len(split)), given]
    top = np.argsort(-shares, axis=1, kind="stable")[:, :3]
    suggested = np.where(top[:, 0] == given, top[:, 1], top[:, 0])
    chosen = np.argsort(-score, kind="stable")[: int((score > 0.5).sum())]
    others = (given[near] != given[:, None]).sum(1)
    return ReviewData(
        title="Review of digits",
        digest="screenshots",
        class_names=dataset.class_names,
        records=len(split),
        estimated_wrong=float(score.sum()),
        index=chosen,
        record_id=split.record_ids[chosen].astype(np.int64),
        name=split.names(chosen),
        given=given[chosen],
        suggested=suggested[chosen],
        score=score[chosen],
        flagged=np.ones(len(chosen), bool),
        top_classes=top[chosen],
        top_probabilities=np.take_along_axis(shares, top, 1)[chosen],
        sources={"features": [f"{others[i]} of {NEIGHBOURS} neighbours have another label" for i in chosen]},
        images=split.images,
        neighbours=near[chosen],
        neighbour_labels=given[near][chosen],
    )


def draw(page_path, out):
    """Open the page as each of `SHOTS` says, and write OUT/NAME.png in 64 colours."""
    from browser import chromium

    with chromium() as browser:
        for name, width, height, scheme, keys in SHOTS:
            with browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=scheme
            ) as session:
                page = session.new_page()
                page.goto(page_path.as_uri())
                page.wait_for_selector(".tile")
                for key in keys:
                    page.keyboard.press(key)
                page.wait_for_timeout(500)
                shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
                shot.quantize(64, dither=Image.Dither.NONE).save(out / f"{name}.png", optimize=True)
                print(out / f"{name}.png", (out / f"{name}.png").stat().st_size, "bytes")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_review(folder / "review.html", digits_review(folder))
        draw(folder / "review.html", ROOT / "docs")
