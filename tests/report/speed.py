"""How long an image takes through the net of an explorer's page, and how long the page is deaf meanwhile.

  python -m tests.report.speed runs/X/report/explorer.html ...

The image is mirrored nine times. Printed are, as medians with the range, milliseconds of the net in its
worker and from the click to the numbers on the page, until the page has its first answer, and of one movement
of a mouse over a layer's channels; and the longest pause of the page's own event loop.
"""

import statistics
import sys
import time
from pathlib import Path

from tests.browser import Browser, chromium

RUNS = 9
MEASURE = """
const done = arguments[arguments.length - 1], runs = arguments[0], net = explorer.net;
(async () => {
  const inside = [], whole = [], gaps = [], channel = new MessageChannel();
  let last = performance.now(), on = true;
  channel.port1.onmessage = () => {
    const now = performance.now();
    gaps.push(now - last);
    last = now;
    if (on) setTimeout(() => channel.port2.postMessage(0), 1);
  };
  channel.port2.postMessage(0);
  for (let run = 0; run < runs; run++) {
    const before = net.runs, start = performance.now();
    document.getElementById("flip").click();
    while (net.runs === before) await new Promise((turn) => setTimeout(turn, 2));
    inside.push(net.milliseconds);
    whole.push(performance.now() - start);
  }
  on = false;
  done([inside, whole, gaps]);
})();
"""

HOVER = """
const done = arguments[arguments.length - 1], canvas = document.getElementById("atlas");
canvas.scrollIntoView({ block: "center" });
setTimeout(() => {
  const { left, top, width, height } = canvas.getBoundingClientRect(), times = [];
  for (let i = 0; i < 60; i++) {
    const clientX = left + (width * (((7 * i) % 60) + 0.5)) / 60;
    const clientY = top + (height * (((13 * i) % 60) + 0.5)) / 60;
    const event = { clientX, clientY, bubbles: true, pointerType: "mouse" };
    const start = performance.now();
    canvas.dispatchEvent(new PointerEvent("pointermove", event));
    document.body.offsetHeight; // the layout, too
    times.push(performance.now() - start);
  }
  done(times);
}, 500);
"""


def measure(browser: Browser, page: Path) -> list[list[float]]:
    """Milliseconds of the net, from click to page, of the event loop's pauses, of opening and of hovering."""
    browser.open(page)
    browser.driver.set_script_timeout(120)
    until = time.monotonic() + 60
    while not browser.run("return window.explorer && explorer.net.runs > 0"):
        if time.monotonic() > until:
            raise SystemExit(f"{page} shows no net")
        time.sleep(0.01)
    opening = browser.run("return performance.now()")
    inside, whole, gaps = browser.driver.execute_async_script(MEASURE, RUNS)
    return [inside, whole, gaps, [opening], browser.driver.execute_async_script(HOVER)]


def main(pages: list[str]) -> None:
    if not pages:
        raise SystemExit("type python -m tests.report.speed PAGE ...")
    with chromium() as browser:
        for page in pages:
            inside, whole, gaps, opening, hover = measure(browser, Path(page))
            said = {"net": inside, "click to page": whole, "opening": opening, "hover": hover}
            for what, values in said.items():
                low, high = min(values), max(values)
                print(f"{page}: {what} {statistics.median(values):.0f} ms ({low:.0f} to {high:.0f})")
            print(f"{page}: longest pause {max(gaps):.0f} ms of {len(gaps):,} turns")


if __name__ == "__main__":
    main(sys.argv[1:])
