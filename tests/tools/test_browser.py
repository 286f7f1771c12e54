"""The report in a real browser: Chromium without a window, driven by its own driver (Debian: chromium, chromium-driver)."""

import itertools
import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import tomli_w
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from small import TABLES

from measureflow.cli import main

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromium-driver are not installed")
SWITCHES = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--window-size=1200,1400")
WORLDS: dict[str, dict[str, Any]] = {
    "globe": {"neurons": [[1.0, 0.0, 0.0]], "weights": [-3.0]},
    "circle": {"neurons": [[1.0, 0.0]], "weights": [-3.0]},
    "projection": {"neurons": [[1.0, 0.0, 0.0, 0.0, 0.0]], "weights": [-3.0]},
}


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for switch in SWITCHES:
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module", params=list(WORLDS))
def page(request: pytest.FixtureRequest, browser: webdriver.Chrome, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report of two runs of a small world, loaded; returns the world's name."""
    folder = tmp_path_factory.mktemp(request.param)
    data = {"kind": "teacher", "train": 50, "test": 40, **WORLDS[request.param]}
    metrics = [{"kind": "kl"}, {"kind": "tv"}, {"kind": "score"}]
    tables = {**TABLES, "data": data, "metrics": metrics, "steps": 6, "observers": ["checkpoint", "snapshots"]}
    (folder / "x.toml").write_text(tomli_w.dumps(tables))
    for seed in (0, 1):
        done("run", str(folder / "x.toml"), "--out", str(folder / f"seed-{seed}"), "--set", f"seed={seed}", "--quiet")
    done("report", str(folder / "seed-0"), str(folder / "seed-1"), "--out", str(folder / "report.html"))
    browser.get_log("performance")
    browser.get((folder / "report.html").as_uri())
    WebDriverWait(browser, 20).until(lambda b: b.find_element(By.ID, "figure-main").get_attribute("data-ready"))
    WebDriverWait(browser, 20).until(lambda b: points(b).get_attribute("data-drawn"))
    return str(request.param)


def done(*arguments: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert not stop.value.code


def points(browser: webdriver.Chrome) -> Any:
    return browser.find_element(By.CSS_SELECTOR, "canvas.points")


def pixels(browser: webdriver.Chrome, css: str = "canvas.points") -> str:
    """The picture of the first such canvas, after the next frame."""
    script = "const done = arguments[1]; const c = document.querySelector(arguments[0]);"
    return str(
        browser.execute_async_script(script + "requestAnimationFrame(() => requestAnimationFrame(() => done(c.toDataURL())))", css)
    )


def layout(browser: webdriver.Chrome, path: str) -> Any:
    return browser.execute_script(f"return document.getElementById('figure-main')._fullLayout.{path}")


def slide(browser: webdriver.Chrome, key: str) -> None:
    browser.find_element(By.CSS_SELECTOR, ".slider").send_keys(key)


def test_it_loads_without_an_error_and_asks_nothing_of_the_network(browser: webdriver.Chrome, page: str) -> None:
    assert browser.get_log("browser") == []
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in sent if event["method"] == "Network.requestWillBeSent"]
    assert any(url.startswith("file://") for url in asked)
    assert [url for url in asked if not url.startswith(("file://", "data:", "blob:"))] == []
    assert browser.execute_script("return performance.getEntriesByType('resource').map((e) => e.name)") == []


def test_the_slider_moves_the_points(browser: webdriver.Chrome, page: str) -> None:
    slide(browser, Keys.END)
    last = pixels(browser)
    slide(browser, Keys.HOME)
    first = pixels(browser)
    assert first != last
    assert browser.find_element(By.CSS_SELECTOR, "output.clock").text.startswith("step 0,")
    slide(browser, Keys.ARROW_RIGHT)
    assert pixels(browser) not in (first, last)
    slide(browser, Keys.END)
    assert pixels(browser) == last
    assert browser.find_element(By.CSS_SELECTOR, "output.clock").text.startswith("step 6,")


def test_a_hidden_measure_is_not_drawn(browser: webdriver.Chrome, page: str) -> None:
    before = pixels(browser)
    boxes = browser.find_elements(By.CSS_SELECTOR, ".replay:first-of-type input.show")
    for box in boxes:
        box.send_keys(Keys.SPACE)
    bare = pixels(browser)
    assert bare != before
    slide(browser, Keys.HOME)
    assert pixels(browser) == bare  # nothing is left that could move
    slide(browser, Keys.END)
    for box in boxes:
        box.send_keys(Keys.SPACE)
    assert pixels(browser) == before


def test_play_runs_to_the_end_and_stops(browser: webdriver.Chrome, page: str) -> None:
    button = browser.find_element(By.CSS_SELECTOR, "button.play")
    button.send_keys(Keys.ENTER)
    assert (button.text, button.get_attribute("aria-pressed")) == ("Pause", "true")
    WebDriverWait(browser, 20).until(lambda b: button.text == "Play")
    slider = browser.find_element(By.CSS_SELECTOR, ".slider")
    assert slider.get_attribute("value") == slider.get_attribute("max")


def test_the_globe_turns_by_keys_with_its_densities(browser: webdriver.Chrome, page: str) -> None:
    before, density = pixels(browser), pixels(browser, "canvas.density") if page != "projection" else ""
    points(browser).send_keys(Keys.ARROW_LEFT)
    assert (pixels(browser) != before) == (page == "globe")
    if page == "globe":
        assert pixels(browser, "canvas.density") != density
        points(browser).send_keys(Keys.ARROW_RIGHT)
        assert pixels(browser) == before


def test_densities_stand_side_by_side_where_they_can(browser: webdriver.Chrome, page: str) -> None:
    shown = [c.get_attribute("data-which") for c in browser.find_elements(By.CSS_SELECTOR, ".replay:first-of-type canvas.density")]
    assert shown == ([] if page == "projection" else ["teacher", "student"])
    if shown:
        places = [browser.find_element(By.CSS_SELECTOR, f"canvas[data-which={which}]").rect for which in shown]
        assert places[0]["y"] == places[1]["y"]


def test_a_zoom_in_one_panel_is_a_zoom_in_all(browser: webdriver.Chrome, page: str) -> None:
    zoom = "const done = arguments[0]; Plotly.relayout('figure-main', {'xaxis.range': [1, 3]}).then(() => done(true))"
    assert browser.execute_async_script(zoom)
    assert [layout(browser, f"xaxis{k}.range") for k in ("", "2", "3")] == [[1, 3]] * 3
    browser.find_element(By.ID, "reset").send_keys(Keys.ENTER)
    WebDriverWait(browser, 10).until(lambda b: layout(b, "xaxis2.range")[1] > 5)


def test_panels_stand_below_each_other_on_a_narrow_screen(browser: webdriver.Chrome, page: str) -> None:
    assert len({layout(browser, f"xaxis{k}.domain")[0] for k in ("", "2", "3")}) == 3
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    )
    WebDriverWait(browser, 10).until(lambda b: all(layout(b, f"xaxis{k}.domain") == [0, 1] for k in ("", "2", "3")))
    bottoms = [layout(browser, f"yaxis{k}.domain")[0] for k in ("", "2", "3")]
    assert bottoms == sorted(bottoms, reverse=True)
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    WebDriverWait(browser, 10).until(lambda b: layout(b, "xaxis3.domain")[0] > 0.5)


def test_labels_of_a_logarithmic_axis_are_few_and_written_alike(browser: webdriver.Chrome, page: str) -> None:
    zoom = (
        "const done = arguments[2];"
        "Plotly.relayout('figure-main', {'yaxis.range': [arguments[0], arguments[1]]}).then(() => done(true))"
    )

    def shows(low: float, high: float, expected: str) -> bool:
        return ticks(browser, low, high) == expected.replace("1e-4", "10<sup>-4</sup>").split()

    for wanted in ((0, 1.5, "1 2 5 10 20"), (-4, 2, "1e-4 0.001 0.01 0.1 1 10 100"), (0, 0.3, "1 1.5")):
        assert browser.execute_async_script(zoom, *wanted[:2])
        WebDriverWait(browser, 10).until(lambda b, wanted=wanted: shows(*wanted), str(wanted))
    browser.find_element(By.ID, "reset").send_keys(Keys.ENTER)


def ticks(browser: webdriver.Chrome, low: float, high: float) -> list[str]:
    shown = zip(layout(browser, "yaxis.tickvals") or [], layout(browser, "yaxis.ticktext") or [], strict=True)
    return [text for value, text in shown if 10**low <= value * (1 + 1e-9) and value <= 10**high * (1 + 1e-9)]


def test_runs_move_together(browser: webdriver.Chrome, page: str) -> None:
    sliders = browser.find_elements(By.CSS_SELECTOR, ".slider")
    sliders[1].send_keys(Keys.HOME)
    assert [s.get_attribute("value") for s in sliders] == ["0", "0"]
    browser.find_element(By.ID, "together").send_keys(Keys.SPACE)
    sliders[0].send_keys(Keys.END)
    assert [s.get_attribute("value") for s in sliders] == ["6", "0"]
    browser.find_element(By.ID, "together").send_keys(Keys.SPACE)
    sliders[1].send_keys(Keys.END)


def test_scales_and_clock_change(browser: webdriver.Chrome, page: str) -> None:
    assert [layout(browser, f"{axis}.type") for axis in ("xaxis", "yaxis", "yaxis2")] == ["linear", "log", "linear"]
    for box in ("log-x", "log-y"):
        browser.find_element(By.ID, box).send_keys(Keys.SPACE)
    WebDriverWait(browser, 10).until(lambda b: layout(b, "xaxis2.type") == "log" and layout(b, "yaxis.type") == "linear")
    for box in ("log-x", "log-y"):
        browser.find_element(By.ID, box).send_keys(Keys.SPACE)
    browser.find_element(By.ID, "clock").send_keys("neuron")
    WebDriverWait(browser, 10).until(lambda b: layout(b, "xaxis.title.text") == "neuron time")
    x = browser.execute_script("return document.getElementById('figure-main').data[0].x")
    assert x == pytest.approx([0.02 * k for k in range(7)])


def test_keyboard_and_contrast_are_as_a_page_should_have(browser: webdriver.Chrome, page: str) -> None:
    assert browser.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"
    levels = [int(h.tag_name[1]) for h in browser.find_elements(By.CSS_SELECTOR, "h1, h2, h3")]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    for control in browser.find_elements(By.CSS_SELECTOR, "input, select, button, canvas"):
        if control.is_displayed():
            assert control.accessible_name, control.get_attribute("outerHTML")
    faint = browser.execute_script(CONTRAST)
    assert faint == []


CONTRAST = """
const linear = (v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
const light = (css) => {
  const [r, g, b] = css.match(/[\\d.]+/g).map((v) => linear(v / 255));
  return .2126 * r + .7152 * g + .0722 * b;
};
const ground = (e) => {
  for (; e; e = e.parentElement) {
    const own = getComputedStyle(e).backgroundColor;
    if (!own.endsWith(', 0)')) return own;
  }
  return 'rgb(255, 255, 255)';
};
const texts = 'h1, h2, h3, p, li, a, label, legend, figcaption, th, td, pre, button, output, summary, .hint', faint = [];
for (const e of document.querySelectorAll(texts)) {
  const [a, b] = [light(getComputedStyle(e).color), light(ground(e))];
  if ((Math.max(a, b) + .05) / (Math.min(a, b) + .05) < 4.5) faint.push(e.outerHTML.slice(0, 80));
}
return faint;
"""  # WCAG 2, AA
