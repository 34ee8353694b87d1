#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""dashboard.py PROGRAM DIR: the page of the example server in a headless Chromium, under some load. Screenshots go to DIR.

Skips (77) where there is no Chromium: `apt-get install chromium`, or CHROMIUM=/path/to/it.
"""
import os
import pathlib
import random
import shutil
import sys
import tempfile
import threading
import urllib.parse

sys.dont_write_bytecode = True
from browser import Browser  # noqa: E402
from serving import Server, make_database  # noqa: E402

program, pictures = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
if not chromium:
    print("skipped: no chromium (apt-get install chromium, or CHROMIUM=/path/to/it)")
    sys.exit(77)

EVIL = "<img src=x onerror=window.evil=1>"


def load(server, stop):
    choose = random.Random(7)
    while not stop.is_set():
        server.get(f"/record/{1 + int(choose.paretovariate(0.9)) % 400}")
        server.get(f"/t/shop-{choose.randint(1, 5)}/prices/{choose.randint(0, 5)}")
        server.get("/files/" + urllib.parse.quote(EVIL))


def figures(browser, server):
    """What is there once a second has passed: figures in every tile, names in the selection and table, lines in the charts."""
    browser.call("Page.navigate", url=server.url)
    browser.until("document.querySelector('#state')?.textContent === 'live'")
    browser.until("[...document.querySelectorAll('#tiles dd')].length >= 16 && /[0-9]/.test(tiles_text = "
                  "document.querySelector('#tiles').innerText) && !tiles_text.includes('–')")
    assert browser.value("[...document.querySelector('#cache').options].map(o => o.text).join()") == \
        "all caches,pages (cache 1),tenants (cache 2),prices (memo 3)"
    browser.until("document.querySelectorAll('#charts path').length >= 9 && "
                  "/M.*L/.test(document.querySelector('#charts path').getAttribute('d'))")
    assert browser.value("[...document.querySelectorAll('#charts svg')].every(svg => svg.getAttribute('aria-label').includes('now'))")
    names = browser.value("document.querySelector('#caches').innerText")
    assert all(name in names for name in ("pages", "tenants", "prices")), names
    alive = browser.value("[...document.querySelectorAll('#charts section')].find(s => s.innerText.includes('by type')).innerText")
    assert "content" in alive and "tenant" in alive, alive


def markup_is_text(browser):
    browser.until(f"[...document.querySelectorAll('#hottest code')].some(c => c.textContent === {('files/' + EVIL)!r})")
    assert browser.value("document.querySelectorAll('img').length") == 0, "a key became an element"
    assert browser.value("window.evil === undefined"), "a key was run"


def one_cache(browser):
    browser.value("document.querySelector('#cache').value = '2'; document.querySelector('#cache').dispatchEvent(new Event('change'))")
    assert browser.value("document.querySelector('#whose').textContent").startswith("of tenants ")
    assert browser.value("document.querySelector('#caches tr[aria-current=true]').innerText").startswith("tenants")
    browser.until("(keys => keys.length && keys.every(key => key.textContent.startsWith('shop-')))"
                  "([...document.querySelectorAll('#hottest code')])")
    browser.value("document.querySelector('#caches td button').click()")
    assert browser.value("document.querySelector('#cache').value") == "1"


def small_and_dark(browser):
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    dark = browser.value("getComputedStyle(document.body).backgroundColor")
    browser.screenshot(pictures / "dashboard-dark.png")
    browser.call("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=1, mobile=True)
    browser.until("document.documentElement.clientWidth === 360")
    wide = browser.value("document.documentElement.scrollWidth")
    assert wide <= 360, f"{wide} pixels wide on a screen of 360"
    browser.screenshot(pictures / "dashboard-small.png")
    browser.call("Emulation.clearDeviceMetricsOverride")
    browser.value("document.querySelector('#theme').click()")
    assert browser.value("getComputedStyle(document.body).backgroundColor") != dark


def main():
    pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        work, stop = pathlib.Path(name), threading.Event()
        (work / "files").mkdir()
        make_database(program, work / "server.db", 400)
        options = ("--sample", "1", "--cache-bytes", "300K", "--ttl", "1.5", "--refresh", "1")
        with Server(program, work / "server.db", *options, files=work / "files") as server:
            asking = threading.Thread(target=load, args=(server, stop))
            asking.start()
            try:
                with Browser(chromium, work / "profile") as browser:
                    figures(browser, server)
                    markup_is_text(browser)
                    browser.screenshot(pictures / "dashboard.png")
                    one_cache(browser)
                    small_and_dark(browser)
                    assert browser.complaints() == [], browser.complaints()
                    stop.set()
                    asking.join()
                    code, said = server.end()
                    assert code == 0, (code, said, server.told())
                    browser.until("document.querySelector('#state').className === 'lost' && "
                                  "/cannot be reached/.test(document.querySelector('#state').textContent) && "
                                  "/^the figures are [0-9]+ s old$/.test(document.querySelector('#age').textContent)")
            finally:
                stop.set()
                asking.join()
    print(f"good; screenshots in {pictures}")


main()
