"""The search page in Chromium, with no network but the service."""

from __future__ import annotations

import pytest

from support.serving import TEXTS, TOKEN, served

expect = pytest.importorskip("playwright.sync_api").expect


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
    expect(page.locator(".hit")).to_have_count(2)
    page.check("#modes input[value=lexical]")
    expect(page.locator(".hit")).to_have_count(0)
    assert page.inner_text("#status") == "No hits."
    page.reload()
    expect(page.locator("#modes input[value=lexical]")).to_be_checked()
    assert (page.input_value("#query"), page.input_value("#path")) == ("the file", "net/*")
    page.fill("#path", "it's")
    expect(page.locator("#status")).to_have_text("No hits.")


def test_why_shows_parts_tokens_and_the_heat_map(page):
    page.fill("#query", "read the file")
    page.click(".hit >> nth=0 >> .why")
    page.wait_for_selector(".reasons canvas")
    reasons = page.inner_text(".reasons").lower()
    assert "late interaction" in reasons
    assert "bm25" in reasons
    before = page.locator(".hit >> nth=0").locator(".code").inner_html()
    page.click(".pair >> nth=1")
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
    page.click("a.location >> text=io/log.py")
    page.wait_for_selector("dialog[open]")
    shown = page.locator("dialog[open] .row").all_inner_texts()
    assert "\n".join(shown) == TEXTS["io/log.py"]
    page.click("dialog[open] >> text=close")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


def test_text_cannot_become_markup(browser, tmp_path):
    from mbert_retrieval import Index, Passage

    nasty = '<img src=x onerror="window.owned = 1"> </div><script>1</script> zebra \U0001f600'
    passage = Passage(nasty, nasty, nasty, metadata={"kind": nasty, "language": nasty})
    Index.build(tmp_path / "i", [passage], None)
    with served(tmp_path / "i") as (url, _):
        page = browser.new_page()
        page.goto(f"{url}/#q=zebra")
        page.wait_for_selector(".hit")
        assert page.inner_text(".prose") == nasty
        assert page.inner_text("mark") == "zebra"
        assert page.locator(".hit img, .hit script").count() == 0
        page.click("a.location")  # the passage is in no file
        page.wait_for_selector("dialog[open] .prose")
        assert page.inner_text("dialog[open] .prose") == nasty
        assert page.locator("dialog img, dialog script").count() == 0
        assert page.evaluate("window.owned") is None
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
