"""The search page helps: without hits, without a service, by keys, by addresses, on a phone."""

from __future__ import annotations

import re

import pytest

from support.serving import TEXTS

expect = pytest.importorskip("playwright.sync_api").expect

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
PATHS = "[...document.querySelectorAll('.hit a.location')].map((link) => link.textContent)"

# (text, contrast) of visible text whose contrast is below WCAG's AA: 4.5, or 3 for large text
FAINT = """() => {
  const rgba = (value) => {  // painted, because colours have many notations
    const brush = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    brush.fillStyle = value;
    brush.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = brush.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((part, i) => part * a + under[i] * (1 - a));
  const light = (colour) => colour.map((part) => part / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    const style = getComputedStyle(element);
    const shown = element.checkVisibility({ visibilityProperty: true, opacityProperty: true });
    if (!node.data.trim() || !shown) continue;
    const chain = [];
    for (let each = element; each; each = each.parentElement) chain.unshift(each);
    const under = chain.map((each) => rgba(getComputedStyle(each).backgroundColor))
      .reduce((below, colour) => over(colour, below), [255, 255, 255]);
    const lights = [light(over(rgba(style.color), under)), light(under)];
    const [one, two] = lights.sort((a, b) => b - a);
    const contrast = (one + 0.05) / (two + 0.05);
    const size = parseFloat(style.fontSize);
    if (contrast < (size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5)) {
      faint.push([node.data.trim().slice(0, 40), element.className, contrast.toFixed(2)]);
    }
  }
  return faint;
}"""


def focused(page):
    return page.evaluate(
        """() => { const at = document.activeElement;
        return at.id || at.querySelector('.rank')?.textContent; }"""
    )


def test_modes_that_answer_alike_are_one(page):
    page.wait_for_selector("#modes:not([hidden])")
    assert page.locator("#modes label").all_inner_texts() == ["hybrid", "late", "lexical"]


def test_an_old_address_of_a_mode_that_is_gone_still_searches(watched, service_url):
    with watched(f"{service_url}/#q=read&mode=vector") as page:
        page.wait_for_selector(".hit")
        expect(page.locator("#modes input[value=hybrid]")).to_be_checked()


def test_one_leg_alone_has_no_choice_of_modes(browser, service_url):
    page = browser.new_page()

    def of_one_leg(route):
        route.fulfill(json=route.fetch().json() | {"modes": ["lexical"]})

    page.route("**/api/info", of_one_leg)
    page.goto(f"{service_url}/#q=read")
    page.wait_for_selector(".hit")
    assert page.locator("#modes input").count() == 0
    assert "mode" not in page.url
    page.close()


def test_an_empty_page_offers_queries_of_the_index(page):
    page.click("#welcome .links a >> text=Read the whole content of a file")
    page.wait_for_selector(".hit")
    assert page.input_value("#query") == "Read the whole content of a file"
    page.go_back()
    page.wait_for_selector("#welcome:not([hidden])")
    assert page.locator(".hit").count() == 0


def test_no_hits_offers_spelling_filters_and_a_wider_search(watched, service_url):
    address = f"{service_url}/#q=conection+parze&mode=lexical&kind=function&path=net/*"
    with watched(address) as page:
        help_ = page.locator("#nothing")
        expect(help_.locator("h2")).to_have_text("No hits for “conection parze”")
        links = help_.locator("a")
        texts = [text.removesuffix(" \N{MULTIPLICATION SIGN}") for text in links.all_inner_texts()]
        filters = ["kind: function", "path: net/*", "remove all"]
        assert texts == ["connection parse", *filters, "by meaning too"]
        links.nth(2).click()
        expect(page.locator("#path")).to_have_value("")
        expect(help_.locator("a")).to_have_count(3)
        help_.locator("a >> nth=0").click()
        expect(page.locator("#query")).to_have_value("connection parse")
        expect(page.locator(".hit")).to_have_count(2)
        assert help_.inner_text() == ""


def test_a_wider_search_is_offered_and_finds(watched, service_url):
    with watched(f"{service_url}/#q=zzzz&mode=lexical") as page:
        page.click("#nothing a >> text=by meaning too")
        expect(page.locator(".hit")).to_have_count(len(TEXTS))


def test_a_service_that_is_gone_dims_the_hits_and_its_return_searches_again(browser, service_url):
    page = browser.new_page()
    page.goto(f"{service_url}/#q=log&mode=lexical")
    expect(page.locator(".hit")).to_have_count(1)
    everything = re.compile(f"{service_url}/.*")
    page.route(everything, lambda route: route.abort("connectionrefused"))
    page.fill("#query", "headers")
    expect(page.locator("#notice[role=alert]")).to_contain_text("does not answer")
    expect(page.locator("#notice")).to_contain_text("hits below are those of the last search")
    assert page.locator(".hits.stale .hit").all_inner_texts()[0].startswith("1\nlog.py")
    page.unroute(everything)
    page.wait_for_selector(".hits:not(.stale) .hit >> text=parse_headers")
    assert page.inner_text("#notice") == ""
    page.close()


def test_what_is_typed_before_the_service_has_answered_is_searched(browser, service_url):
    page = browser.new_page()
    page.route("**/api/info", lambda route: (page.fill("#query", "read"), route.continue_()))
    page.goto(service_url)
    expect(page.locator(".hit")).to_have_count(len(TEXTS))
    assert page.input_value("#query") == "read"
    page.close()


def test_a_proxy_without_its_service_counts_as_gone(browser, service_url):
    page = browser.new_page()
    page.route("**/api/info", lambda route: route.fulfill(status=502, body="<h1>Bad Gateway</h1>"))
    page.goto(service_url)
    expect(page.locator("#notice")).to_contain_text("does not answer")
    page.unroute("**/api/info")
    page.wait_for_selector("#welcome:not([hidden])")
    page.close()


def test_hits_after_an_error_are_dimmed(browser, service_url):
    page = browser.new_page()
    page.goto(f"{service_url}/#q=read")
    page.wait_for_selector(".hits:not(.stale) .hit")
    page.route(
        "**/api/search",
        lambda route: route.fulfill(status=503, json={"detail": "too many requests at once"}),
    )
    page.fill("#query", "write")
    expect(page.locator("#status.bad")).to_have_text("too many requests at once")
    assert page.locator(".hits.stale .hit").count() == len(TEXTS)
    page.close()


def test_arrows_go_from_hit_to_hit_and_enter_opens(page):
    page.fill("#query", "read the file")
    page.wait_for_selector(".hits:not(.stale) .hit")
    walked = []
    for key in ("ArrowDown", "ArrowDown", "ArrowUp", "End", "ArrowDown", "Home", "ArrowUp"):
        page.keyboard.press(key)
        walked.append(focused(page))
    assert walked == ["1", "2", "1", "4", "4", "1", "query"]
    page.keyboard.press("ArrowDown")
    first = page.evaluate(PATHS)[0]
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    assert page.inner_text("dialog[open] h2") == first.split(":")[0]
    page.keyboard.press("Escape")
    expect(page.locator("dialog[open]")).to_have_count(0)
    assert focused(page) == "1"
    page.keyboard.press("Escape")
    assert focused(page) == "query"


def test_a_document_has_an_address(page, watched, service_url):
    page.fill("#query", "read the file")
    page.click("a.location >> text=io/log.py")
    page.wait_for_selector("dialog[open]")
    address = page.url
    assert "doc=io%2Flog.py" in address
    assert "io/log.py" in page.title()
    page.go_back()
    expect(page.locator("dialog[open]")).to_have_count(0)
    assert page.input_value("#query") == "read the file"
    page.go_forward()
    expect(page.locator("dialog[open] h2")).to_have_text("io/log.py")
    page.click("dialog[open] >> text=close")
    expect(page.locator("dialog[open]")).to_have_count(0)
    assert "doc=" not in page.url
    with watched(address) as other:
        expect(other.locator("dialog[open] h2")).to_have_text("io/log.py")
        assert other.locator("dialog .row.here").count() > 0
        assert other.locator("dialog mark").count() > 0
        other.keyboard.press("Escape")
        expect(other.locator("dialog[open]")).to_have_count(0)
        assert "doc=" not in other.url
        assert other.locator(".hit").count() == len(TEXTS)


def test_the_address_of_a_document_that_is_not_there_says_so(browser, service_url):
    page = browser.new_page()
    page.goto(f"{service_url}/#q=read&doc=gone.py")
    expect(page.locator("#status.bad")).to_have_text("no passage has the path 'gone.py'")
    assert page.locator("dialog[open]").count() == 0
    assert page.locator(".hits:not(.stale) .hit").count() == len(TEXTS)
    assert "doc=" not in page.url
    page.close()


def test_the_heat_map_has_labels_and_a_legend_and_folds_tokens_away(page):
    page.fill("#query", "read the file")
    page.click(".hit:has-text('def read_file') .why")
    page.wait_for_selector(".reasons canvas")
    pairs, columns = page.locator(".pair b"), page.locator(".columns span")
    assert (
        pairs.all_inner_texts() == page.locator(".names span").all_inner_texts() == ["read", "file"]
    )
    labels = columns.all_inner_texts()
    assert {"read", "file"} <= set(labels)
    assert not {"(", ":", "."} & set(labels)
    assert page.inner_text(".legend").split() == ["average", "of", "its", "row", "1.00", "(equal)"]
    page.check(".unfold input")
    assert pairs.all_inner_texts() == ["[CLS]", "[Q]", "read", "the", "file", "[SEP]"]
    assert columns.count() > len(labels)
    width = page.evaluate("document.querySelector('.reasons canvas').width")
    assert width == 16 * columns.count()
    page.uncheck(".unfold input")
    assert columns.all_inner_texts() == labels


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_clipped_and_every_text_is_legible(watched, service_url, scheme):
    with watched(f"{service_url}/#q=read+the+file", color_scheme=scheme, **PHONE) as page:
        page.click(".hit >> nth=0 >> .why")
        page.wait_for_selector(".reasons canvas")
        page.check(".unfold input")
        outside = page.evaluate(
            """() => [...document.querySelectorAll("body *")].filter((each) => {
              const box = each.getBoundingClientRect();
              return box.width && (box.right > innerWidth + 1 || box.left < -1)
                && !each.closest(".map, .code");
            }).map((each) => each.className || each.tagName)"""
        )
        assert outside == []
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert page.evaluate(FAINT) == []
        page.click("a.location >> nth=0")
        page.wait_for_selector("dialog[open]")
        assert page.evaluate(FAINT) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_legible_where_there_are_no_hits(watched, service_url, scheme):
    with watched(f"{service_url}/#q=conection&mode=lexical", color_scheme=scheme) as page:
        page.wait_for_selector("#nothing a")
        assert page.evaluate(FAINT) == []
        page.click("#home")
        page.wait_for_selector("#welcome:not([hidden]) .links")
        assert page.evaluate(FAINT) == []


def test_every_control_is_reached_by_tab_and_shows_its_focus(page):
    page.fill("#query", "read the file")
    page.wait_for_selector(".hits:not(.stale) .hit")
    page.focus("#home")
    reached = []
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                """() => { const at = document.activeElement;
                const shown = at.matches("#modes input") ? at.nextElementSibling : at;
                const style = getComputedStyle(shown);
                return [at.id || at.className || at.name || at.textContent,
                  style.outlineStyle !== "none" || /0px 0px 0px 3px/.test(style.boxShadow)]; }"""
            )
        )
    controls = ["API", "theme", "query", "mode", "path", "k"]
    assert [name for name, _ in reached[:10]] == [*controls, *["location", "why"] * 2]
    assert all(shown for _, shown in reached)
