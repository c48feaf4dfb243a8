"""Write docs/images/page-*.png: the search page in Chromium, on a desktop and on a phone.

    make demo && python docs/generate_screenshots.py --index .demo/*.index

Serves the index itself. It needs Chromium, of the system or by `playwright install chromium`.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

IMAGES = Path(__file__).resolve().parent / "images"
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
QUERY = "q=wait+for+the+first+task+that+finishes"


@contextmanager
def service(index: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """Serve the index on any free port. Yields (URL, process)."""
    program = str(Path(sys.executable).with_name("mbert-search"))
    command = [program, "serve", "--index", index, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if match := re.search(r"http://\S+", line):
                yield match[0], process
                break
        else:
            sys.exit("the service did not start")
        process.terminate()


def page_at(browser: Browser, address: str, size: dict[str, int], scheme: str) -> Page:
    page = browser.new_page(viewport=size, color_scheme=scheme)
    page.goto(address)
    return page


def take(page: Page, name: str) -> None:
    page.wait_for_timeout(400)  # transitions
    page.screenshot(path=IMAGES / f"page-{name}.png")
    page.close()


def explained(page: Page) -> Page:
    """Open "why" of the first hit, and scroll to it."""
    page.click(".hit >> nth=0 >> .why")
    page.wait_for_selector(".reasons canvas")
    page.evaluate("document.querySelector('.reasons').scrollIntoView()")
    page.evaluate("scrollBy(0, -84)")  # the search field stays on top
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--index", required=True)
    index = parser.parse_args().index
    with sync_playwright() as playwright, service(index) as (url, process):
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = page_at(browser, url, DESKTOP, "light")
        page.wait_for_selector("#welcome:not([hidden])")
        take(page, "welcome")
        page = page_at(browser, f"{url}/#{QUERY}", DESKTOP, "light")
        page.wait_for_selector(".hit")
        take(page, "hits")
        take(explained(page_at(browser, f"{url}/#{QUERY}", DESKTOP, "dark")), "why-dark")
        take(explained(page_at(browser, f"{url}/#{QUERY}", PHONE, "light")), "why-phone")
        misspelt = f"{url}/#q=conection+tiemout&mode=lexical&path=json/*"
        page = page_at(browser, misspelt, PHONE, "light")
        page.wait_for_selector("#nothing a")
        take(page, "no-hits-phone")
        page = page_at(browser, f"{url}/#q=parse+a+cookie", PHONE, "dark")
        page.wait_for_selector(".hits:not(.stale) .hit")
        process.kill()
        process.wait()
        page.fill("#query", "decode a mail header")
        page.wait_for_selector("#notice b")
        take(page, "gone-phone")
        browser.close()


if __name__ == "__main__":
    main()
