"""The page in use: slider, keys, pointer, screen reader, colours, and room."""

from pathlib import Path
from typing import Any

import pytest
from conftest import Rnn
from explained_networks import HOSTILE

from page.conftest import HEAD, Open, Opened


def now(opened: Opened) -> str:
    """Return the label of the slider, which a screen reader hears too."""
    text = opened.page.locator("#now").text_content()
    assert text.startswith(opened.page.locator("#slider").get_attribute("aria-valuetext") + " (")
    return str(text)


def test_the_slider_the_buttons_and_the_keys_go_through_time(open_page: Open) -> None:
    opened = open_page("vanilla")
    page = opened.page
    assert page.get_by_label("t = 1, x = 1.0").count() == 1
    keys = ("ArrowRight", "ArrowLeft", "End", "ArrowRight", "PageDown", "PageUp", "Home")
    for key, t in zip(keys, (2, 1, 6, 6, 5, 6, 1), strict=True):
        page.locator("#slider").press(key)
        x = opened.document["steps"][t - 1]["x"][0]
        assert now(opened) == f"t = {t}, x = {x} (step {t} of 6)"
    page.get_by_role("button", name="Step on").click()
    assert now(opened).startswith("t = 2,")
    page.get_by_role("button", name="Play").click()
    page.get_by_text("t = 6, x = 6.0").wait_for()
    page.get_by_role("button", name="Play").wait_for()


def test_arrow_keys_go_through_time_wherever_the_focus_is(open_page: Open) -> None:
    opened = open_page("vanilla")
    page = opened.page
    for key, t in zip(("ArrowRight", "ArrowRight", "ArrowLeft"), (2, 3, 2), strict=True):
        page.keyboard.press(key)  # nothing was clicked yet
        assert now(opened).startswith(f"t = {t},")
    page.locator("tr.value").last.locator("td").nth(2).click()  # the table takes the focus
    page.keyboard.press("ArrowRight")
    assert now(opened).startswith("t = 3,")
    page.locator("#slider").press("ArrowRight")
    assert now(opened).startswith("t = 4,")  # one step, not two
    page.locator("select").press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    assert now(opened).startswith("t = 4,")


def test_home_and_end_go_to_the_ends_and_a_screen_reader_hears_it(open_page: Open) -> None:
    opened = open_page("vanilla")
    page = opened.page
    for key, t in (("End", 6), ("ArrowRight", 6), ("ArrowLeft", 5), ("Home", 1)):
        page.keyboard.press(key)
        assert now(opened).startswith(f"t = {t},")
    assert page.locator("#now").get_attribute("aria-live") == "polite"
    page.locator("#slider").press("ArrowRight")  # the slider speaks for itself
    assert page.locator("#now").get_attribute("aria-live") == "off"


def test_the_tab_key_reaches_every_control_of_a_bidirectional_stack(open_page: Open) -> None:
    opened = open_page(HEAD)
    page = opened.page
    labels = [each.get_attribute("aria-label") for each in page.locator("select").all()]
    ways = [f"Unit of Layer {layer}, {way}" for layer in (1, 2) for way in ("forward", "backward")]
    assert labels == [*ways, "Unit of Layer 3"]
    focused = []
    for _ in range(200):
        page.keyboard.press("Tab")
        focus = page.evaluate(
            """() => { const node = document.activeElement;
              return node === document.body ? null : [node.ariaLabel ?? node.textContent,
                getComputedStyle(node).outlineWidth]; }"""
        )
        if focus is None:
            break
        focused.append(focus)
    names = [name for name, _ in focused]
    assert names[:4] == ["Signs", "Step back", "Step on", "Play"]
    assert [name for name in names if name in labels] == labels
    assert {width for _, width in focused} == {"3px"}
    page.get_by_label(ways[3]).select_option("1")
    page.locator("summary").press("End")
    assert now(opened).startswith("t = 6,")
    assert page.locator("ol.terms:not([hidden])").count() > 1


def test_an_arrow_key_scrolls_a_wide_table_that_has_the_focus(open_page: Open) -> None:
    opened = open_page("thirty units", 320)
    region = opened.page.locator(".scroll").last
    region.press("ArrowRight")
    assert now(opened).startswith("t = 1,")
    opened.page.wait_for_function("node => node.scrollLeft > 0", arg=region.element_handle())


def test_a_click_chooses_a_unit_or_a_step(open_page: Open) -> None:
    opened = open_page("vanilla")
    page = opened.page
    cells = page.locator("tr.value").last.locator("td")
    cells.nth(2).click()
    assert page.locator("select").input_value() == "2"
    assert page.locator(".chosen").count() == page.locator("td[title]:nth-child(4)").count()
    assert page.locator("ol.terms li").count() == 1 + 4 + 1 + 2
    cells.nth(2).click()
    assert page.locator("select").input_value() == ""
    assert page.locator(".chosen").count() == 0
    page.locator("#overview canvas").click(position={"x": 1, "y": 1})
    assert now(opened).startswith("t = 1,")


@pytest.mark.parametrize("name", ["thirty units", HEAD])
def test_no_element_is_wider_than_the_window(name: str, open_page: Open) -> None:
    for width in (320, 1400):
        opened = open_page(name, width)
        opened.page.locator("select").first.select_option("0")
        opened.page.locator("summary").click()
        wide = opened.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width


@pytest.mark.parametrize(
    ("name", "width", "scheme"), [("lstm", 320, "light"), (HEAD, 1400, "dark")]
)
def test_axe_has_no_serious_finding(name: str, width: int, scheme: str, open_page: Open) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="needs the extra test-page"
    )
    opened = open_page(name, width, scheme)
    opened.go_to(4)
    opened.page.locator("select").first.select_option("1")
    opened.page.locator("summary").click()
    found = axe.Axe().run(opened.page).response
    assert len(found["passes"]) > 20
    serious = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
    assert [(each["id"], each["nodes"][0]["html"]) for each in serious] == []


def test_columns_of_the_input_have_their_names(browser: Any, run_rnn: Rnn, tmp_path: Path) -> None:
    data, path = tmp_path / "data.csv", tmp_path / "page.html"
    data.write_text(f"{HOSTILE},a&b\n1,2\n3,4\n")
    result = run_rnn("explain", data, "--hidden", "2,2", "--first-row", "header", "-o", path)
    assert result.exit_code == 0, result.output
    opened = Opened(browser.new_page(), path, {})
    heads = opened.page.evaluate(
        """() => [...document.querySelectorAll("table")].map((table) =>
          [...table.tHead.rows[0].cells].slice(1).map((cell) => cell.textContent))"""
    )
    of_x, of_h, *_ = heads
    assert of_x[0].startswith("</script><img src=x")
    assert of_x[1] == "a&b"
    assert of_h == ["h_0", "h_1"]
    assert heads.count(["x_0", "x_1"]) == 1  # of the upper layer
    assert opened.page.locator("img").count() == 0
    assert opened.said == []
    opened.page.close()
