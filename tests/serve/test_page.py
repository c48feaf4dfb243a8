"""The search page in Chromium, with no network but the service."""

from __future__ import annotations

import shutil

import pytest

from support.serving import TEXTS, TOKEN, served

pytest.importorskip("fastapi")
playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, index):
    """The page at the service's address; fails for an error in it or a request elsewhere."""
    with served(index) as (url, _):
        page = browser.new_page()
        troubles: list[str] = []
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda line: line.type == "error" and troubles.append(line.text))
        page.on(
            "request",
            lambda request: request.url.startswith(url) or troubles.append(request.url),
        )
        page.goto(url)
        yield page
        page.close()
        assert troubles == []


def test_it_searches_while_the_user_types(page):
    page.wait_for_selector("#welcome:not([hidden])")
    assert "4" in page.inner_text("#welcome")
    page.type("#query", "read the file")
    page.wait_for_selector(".hit")
    assert page.locator(".hit").count() == len(TEXTS)
    lines = page.locator(".hit", has_text="read_file").locator(".row")
    shown = [line.inner_text() for line in lines.all()]
    assert "\n".join(shown) == TEXTS["io/files.py"]
    assert lines.first.get_attribute("data-line") == "1"
    assert page.locator("mark").count() > 0
    assert "q=read+the+file" in page.url
    page.fill("#query", "")
    page.wait_for_selector("#welcome:not([hidden])")
    assert page.locator(".hit").count() == 0


def test_filters_narrow_and_survive_a_reload(page):
    page.fill("#path", "net/*")
    page.fill("#query", "the file")
    playwright.expect(page.locator(".hit")).to_have_count(2)
    page.click("#modes button[value=lexical]")
    playwright.expect(page.locator(".hit")).to_have_count(0)
    assert page.inner_text("#status") == "Nothing found."
    page.reload()
    page.wait_for_selector("#modes button[value=lexical][aria-checked=true]")
    assert (page.input_value("#query"), page.input_value("#path")) == ("the file", "net/*")
    page.fill("#path", "it's")
    playwright.expect(page.locator("#status")).to_have_text("Nothing found.")


def test_why_shows_parts_tokens_and_the_heat_map(page):
    page.fill("#query", "read the file")
    page.click(".hit >> nth=0 >> .why")
    page.wait_for_selector(".reasons canvas")
    reasons = page.inner_text(".reasons").lower()
    assert "late interaction" in reasons
    assert "bm25" in reasons
    pairs = page.locator(".pair b").all_inner_texts()
    assert pairs == ["[CLS]", "[Q]", "read", "the", "file", "[SEP]"]
    before = page.locator(".hit >> nth=0").locator(".code").inner_html()
    page.click(".pair >> nth=2")
    page.wait_for_selector(".pair[aria-pressed=true]")
    assert page.locator(".hit >> nth=0").locator(".code").inner_html() != before
    painted = page.evaluate(
        """() => { const map = document.querySelector('canvas');
        const data = map.getContext('2d').getImageData(0, 0, map.width, map.height).data;
        return new Set(data.filter((_, offset) => offset % 4 === 3)).size; }"""
    )
    assert painted > 5
    page.click(".hit >> nth=0 >> .why")
    assert page.locator(".reasons").count() == 0


def test_the_whole_file_opens_and_the_theme_changes(page):
    page.fill("#query", "read the file")
    page.click("button.location >> text=io/log.py")
    page.wait_for_selector("dialog[open]")
    shown = page.locator("dialog[open] .row").all_inner_texts()
    assert "\n".join(shown) == TEXTS["io/log.py"]
    page.click("dialog[open] >> text=close")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


def test_text_cannot_become_markup(browser, tmp_path):
    from mbert_retrieval import Index, Passage

    nasty = (
        "<img src=x onerror=\"document.title='owned'\"> </div><script>1</script> zebra \U0001f600"
    )
    passage = Passage(nasty, nasty, nasty, metadata={"kind": nasty, "language": nasty})
    Index.build(tmp_path / "i", [passage], None)
    with served(tmp_path / "i") as (url, _):
        page = browser.new_page()
        page.goto(f"{url}/#q=zebra")
        page.wait_for_selector(".hit")
        assert page.inner_text(".prose") == nasty
        assert page.inner_text("mark") == "zebra"
        assert page.locator(".hit img, .hit script").count() == 0
        assert "owned" not in page.title()
        page.close()


def test_it_asks_for_the_token(browser, index, tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    with served(index, "--token-file", str(tmp_path / "token")) as (url, _):
        page = browser.new_page()
        page.goto(url)
        page.wait_for_selector("dialog[open] input")
        page.keyboard.type(TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_selector("#welcome:not([hidden])")
        page.fill("#query", "read")
        page.wait_for_selector(".hit")
        page.close()


def test_the_api_page_lists_every_operation(page):
    page.click("text=API")
    page.wait_for_selector("article")
    openapi = page.evaluate("async () => await (await fetch('/openapi.json')).json()")
    paths = [path for path, verbs in openapi["paths"].items() for _ in verbs]
    assert [each.split()[-1] for each in page.locator("article h2").all_inner_texts()] == paths
