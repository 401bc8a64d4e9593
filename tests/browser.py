"""A headless Chromium for the tests of pages, where one is installed."""

import contextlib
import os
import shutil

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def find_browser():
    """The path of a Chromium, SELFIE_BROWSER first; None where there is none."""
    wanted = os.environ.get("SELFIE_BROWSER")
    return wanted or next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def chromium():
    """Yield a running browser, or skip and say what is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    path = find_browser()
    if path is None:
        pytest.skip("no Chromium found: apt-get install chromium, or set SELFIE_BROWSER to its path")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@contextlib.contextmanager
def open_page(browser, path, **context):
    """Yield the page of a file; fails on any console error, page error or request to a network."""
    with browser.new_context(**{"viewport": {"width": 1200, "height": 800}, **context}) as session:
        page = session.new_page()
        complaints, requests = [], []
        page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.resolve().as_uri())
        yield page
        assert complaints == []
        foreign = [url for url in requests if not url.startswith(("file:", "data:", "blob:"))]
        assert foreign == []
