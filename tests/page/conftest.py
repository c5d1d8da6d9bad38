import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from explained_networks import CASES, command_of, written

from rnncli.cli import rnn

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
HEAD = "gru, both directions, head"
# The other networks are of kinds that these have too.
FEW = ("vanilla", "lstm, float64", HEAD, "rounded operands", "layers without state", "masked row")
EACH = [pytest.param(name, marks=[] if name in FEW else pytest.mark.nightly) for name in CASES]


class Opened:
    """A page in the browser, all that the browser said and asked for, and `explain --json`."""

    def __init__(self, page: Any, path: Path, document: dict[str, Any]) -> None:
        self.page, self.path, self.document = page, path, document
        self.said: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("#time:not([hidden])")

    def go_to(self, number: int) -> dict[str, Any]:
        """Move the slider to a step, and return the document's."""
        self.page.locator("#slider").fill(str(number))
        step: dict[str, Any] = self.document["steps"][number]
        return step


Open = Callable[..., Opened]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra test-page")
    if BROWSER is None:
        pytest.skip("needs the browser chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """Write the page and the document of a case, once."""
    made: dict[str, Any] = {}

    def page_of(name: str) -> Any:
        if name not in made:
            folder = tmp_path_factory.mktemp("page")
            command = command_of(CASES[name], folder)
            made[name] = written(lambda *args: CliRunner().invoke(rnn, args), command, folder)
        return made[name]

    return page_of


@pytest.fixture
def open_page(browser: Any, pages: Callable[[str], Any]) -> Iterator[Open]:
    """Open the page of a case; at the end the browser must have had nothing to say."""
    opened: list[Opened] = []

    def opening(name: str, width: int = 1400, scheme: str = "light", **options: Any) -> Opened:
        viewport = {"width": width, "height": 900}
        context = browser.new_context(viewport=viewport, color_scheme=scheme, **options)
        opened.append(Opened(context.new_page(), *pages(name)))
        return opened[-1]

    yield opening
    for each in opened:
        assert each.said == []
        assert each.requests == [each.path.as_uri()]
        each.page.context.close()
