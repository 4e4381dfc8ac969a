// The buttons of a lesson that learns, and the curve of its error.
import { $, make, roomIn, show } from "./dom.js";
import { cssColour, sized } from "./draw.js";
import { t } from "./strings.js";

const TURN = 8; // milliseconds of steps, then the page draws and listens

/** Run and pause, one step, a hundred, start again, in the element `id`.
 *
 * `step()` makes one step, `draw()` shows where it led, `restart()` begins anew; at most `most` steps a frame.
 */
export function trainer(id, { step, draw, restart, most = Infinity }) {
  let left = 0;
  const button = (key, press) => {
    const made = make("button", { type: "button", id: `${id}-${key}`, "data-t": key }, t(key));
    made.addEventListener("click", press);
    return made;
  };
  const frame = () => {
    const until = performance.now() + TURN;
    for (let done = 0; left > 0 && done < most; done++, left--) {
      if (done && performance.now() > until) break;
      step();
    }
    draw();
    if (left > 0) requestAnimationFrame(frame);
    else label();
  };
  const go = (count) => {
    const running = left > 0;
    left = count;
    label();
    if (!running && count > 0) requestAnimationFrame(frame);
  };
  const run = button("run", () => go(left > 0 ? 0 : Infinity));
  const label = () => {
    run.dataset.t = left > 0 ? "pause" : "run";
    run.textContent = t(run.dataset.t);
    run.setAttribute("aria-pressed", String(left > 0));
  };
  const one = button("oneStep", () => {
    left = 0;
    label();
    step();
    draw();
  });
  run.className = "main";
  const again = button("startAgain", () => {
    left = 0;
    label();
    restart();
    draw();
  });
  $(id).append(run, one, button("hundredSteps", () => go(100)), again);
  return { running: () => left > 0 };
}

/** Draws the errors, one a step, as a curve that is the mean of what falls into a pixel. */
export function drawCurve(canvas, errors, words) {
  const width = Math.min(460, roomIn(canvas.parentElement));
  const height = 150;
  const context = sized(canvas, width, height);
  const [left, bottom, top] = [34, height - 22, 10];
  const most = Math.max(1, errors.length ? errors.slice(0, 20).reduce((a, b) => Math.max(a, b)) : 1);
  context.font = "12px system-ui";
  context.fillStyle = context.strokeStyle = cssColour("soft");
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(left, top);
  context.lineTo(left, bottom);
  context.lineTo(width - 2, bottom);
  context.stroke();
  context.textAlign = "right";
  context.textBaseline = "middle";
  context.fillText(show(most), left - 4, top + 4);
  context.fillText("0", left - 4, bottom);
  context.textBaseline = "top";
  context.fillText(t("curveSteps", { n: errors.length }), width - 2, bottom + 5);
  const room = width - left - 4;
  const each = Math.max(1, errors.length / room);
  const across = room / Math.max(errors.length, 20);
  context.strokeStyle = cssColour("above");
  context.lineWidth = 2;
  context.beginPath();
  for (let from = 0, n = 0; from < errors.length; from += each, n++) {
    const part = errors.slice(Math.floor(from), Math.max(Math.floor(from) + 1, Math.floor(from + each)));
    const mean = part.reduce((a, b) => a + b, 0) / part.length;
    const x = left + 2 + (each > 1 ? n : n * across);
    const y = bottom - Math.min(mean / most, 1.02) * (bottom - top);
    if (n) context.lineTo(x, y);
    else context.moveTo(x, y);
  }
  context.stroke();
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", words);
}
