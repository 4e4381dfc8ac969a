"""A person at a page: with a mouse at a desk, or with a finger on a phone, and with nothing else.

What is pressed is pressed where it lies in the window, by the browser's own input: what is hidden, covered or
out of reach cannot be.
"""

from collections.abc import Sequence
from typing import Any

from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from tests.browser import Browser

WIDTHS = (1440, 360)
HEIGHTS = {1440: 900, 360: 800}
# Two frames after the scrolling, as input goes to what was drawn last.
REACH = """
const [element, across, down, done] = arguments;
element.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
requestAnimationFrame(() => requestAnimationFrame(() => {
  const { left, top, width, height } = element.getBoundingClientRect();
  const there = document.elementFromPoint(left + across * width, top + down * height);
  const label = element.closest("label");
  const hit = there && (element.contains(there) || (label && label.contains(there)));
  done([[left, top, width, height], hit ? "" : (there ? there.outerHTML : "nothing").slice(0, 200)]);
}));
"""

# Whether the page has taken the tap that follows: the click, or a slider's value, comes in its own time after
# the finger has left.
EXPECT = """
window.tapped = new Promise((took) => {
  for (const kind of ["click", "input"]) addEventListener(kind, took, { capture: true, once: true });
});
"""
TAKEN = """
const [wait, done] = arguments;
window.tapped.then(() => setTimeout(() => done(true)));
setTimeout(() => done(false), wait);
"""


class Reader:
    """Hold a browser as a person does whose window is so wide; below 700 pixels it is a phone's.

    It is made before the page is opened, which then knows that this person wants no motion: what scrolls on
    its own moves from under the pointer.
    """

    def __init__(self, browser: Browser, width: int):
        self.driver, self.width = browser.driver, width
        self.has_finger = width < 700
        self._command("Emulation.setTouchEmulationEnabled", enabled=self.has_finger)
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self._command("Emulation.setEmulatedMedia", features=[still])

    def find(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def point(self, selector: str, across: float = 0.5, down: float = 0.5) -> None:
        """Hover over a place of an element, in shares of its width and height; a finger taps it."""
        if self.has_finger:
            self.press(selector, across, down)
        else:
            left, top, width, height = self._reach(selector, (across, down))
            self._mouse("mouseMoved", left + across * width, top + down * height)

    def press(self, selector: str, across: float = 0.5, down: float = 0.5) -> None:
        """Click or tap a place of an element.

        A browser that is short of time drops a tap now and then; a person taps again, and so does this one.
        """
        if not self.has_finger:
            self.stroke(selector, [(across, down)])
            return
        for _ in range(2):
            self.driver.execute_script(EXPECT)
            self.stroke(selector, [(across, down)])
            if self.driver.execute_async_script(TAKEN, 5000):
                return
        raise AssertionError(f"{selector} was tapped twice, and the page took neither")

    def stroke(self, selector: str, places: Sequence[tuple[float, float]]) -> None:
        """Press at the first place of an element, go on over the others, and let go."""
        left, top, width, height = self._reach(selector, places[0])
        points = [(left + across * width, top + down * height) for across, down in places]
        for number, (x, y) in enumerate(points):
            if self.has_finger:
                self._touch("touchMove" if number else "touchStart", {"x": x, "y": y})
            elif number:
                self._mouse("mouseMoved", x, y, button="left")
            else:
                self._mouse("mouseMoved", x, y)
                self._mouse("mousePressed", x, y, button="left", clickCount=1)
        if self.has_finger:
            self._touch("touchEnd")
        else:
            self._mouse("mouseReleased", *points[-1], button="left", clickCount=1)

    def cell(self, selector: str, row: int, column: int, rows: int, columns: int) -> None:
        """Go to one of the cells of an element."""
        self.point(selector, (column + 0.5) / columns, (row + 0.5) / rows)

    def choose(self, selector: str, value: str) -> None:
        Select(self.find(selector)).select_by_value(value)

    def write(self, selector: str, text: str) -> None:
        field = self.find(selector)
        field.clear()
        field.send_keys(text)

    def reads(self, selector: str) -> str:
        """Return the text that is to be seen, with the minus sign of programs."""
        return self.find(selector).text.replace("\u2212", "-")

    def _reach(self, selector: str, place: tuple[float, float]) -> list[float]:
        """Bring an element's place into the window; return the element's left, top, width and height."""
        box, instead = self.driver.execute_async_script(REACH, self.find(selector), *place)
        assert not instead, f"{selector} cannot be reached at {self.width} pixels: {instead} lies there"
        return box

    def _touch(self, kind: str, *points: dict[str, float]) -> None:
        self._command("Input.dispatchTouchEvent", type=kind, touchPoints=list(points))

    def _mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self._command("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def _command(self, name: str, **parameters: Any) -> None:
        self.driver.execute_cdp_cmd(name, parameters)
