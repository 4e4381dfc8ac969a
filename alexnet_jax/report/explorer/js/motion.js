// Motion: whether the page moves, what stops when it may not, and the drawing of what does.

const stops = []; // what ends each thing that moves

export const moves = () => !document.documentElement.classList.contains("still");

/** Calls `stop` when motion is switched off. */
export const whenStill = (stop) => stops.push(stop);

export function setMotion(on) {
  document.documentElement.classList.toggle("still", !on);
  if (!on) for (const stop of stops) stop();
}

/** Calls `draw(share)` frame by frame, from 0 to 1 within `milliseconds`. Returns what ends it at 1, at once.
 *
 * Where nothing may move it draws 1 alone.
 */
export function play(milliseconds, draw) {
  if (!moves()) {
    draw(1);
    return () => {};
  }
  let frame;
  let first;
  const turn = (now) => {
    first ??= now;
    const share = Math.min(1, (now - first) / milliseconds);
    draw(share);
    frame = share < 1 ? requestAnimationFrame(turn) : 0;
  };
  frame = requestAnimationFrame(turn);
  return () => {
    if (!frame) return;
    cancelAnimationFrame(frame);
    frame = 0;
    draw(1);
  };
}

const STEP = 90; // milliseconds between two values that set out one after the other
const TRAVEL = 650; // of one on its way

/** Lets values travel, stage by stage. Each stage is a list of {from, to}, functions that give boxes in the
 * window (the page may have been scrolled), of what travels, {text, colour(element)} or {copy}, an element, and of
 * `arrives()`, called at the end of its stage.
 */
export class Journey {
  constructor() {
    this.travelling = []; // [chip, its animation]
    this.number = 0; // of the present journey
    whenStill(() => this.stop());
  }

  get on() {
    return this.travelling.length > 0;
  }

  stop() {
    this.number += 1;
    for (const [chip, animation] of this.travelling) {
      animation.cancel();
      chip.remove();
    }
    this.travelling = [];
  }

  /** Resolves to whether it came to its end. */
  async go(stages, { travel = TRAVEL, step = STEP } = {}) {
    this.stop();
    const mine = this.number;
    for (const values of stages) {
      if (!moves()) return false;
      this.travelling = values.map((value, i) => depart(value, travel, i * step));
      await Promise.allSettled(this.travelling.map(([, animation]) => animation.finished));
      if (mine !== this.number) return false;
      for (const [chip] of this.travelling) chip.remove();
      this.travelling = [];
      for (const { arrives } of values) if (arrives) arrives();
    }
    return true;
  }
}

function depart({ from, to, text = "", colour, copy }, duration, delay) {
  const [start, end] = [from(), to()];
  const chip = document.createElement("div");
  chip.className = "traveller";
  chip.setAttribute("aria-hidden", "true");
  if (copy) chip.append(copy());
  else chip.textContent = text;
  if (colour) colour(chip);
  document.body.append(chip);
  const at = ({ left, top, width, height }) => ({
    transform: `translate(${left + scrollX}px, ${top + scrollY}px)`, width: `${width}px`, height: `${height}px`,
  });
  const timing = { duration, delay, easing: "ease-in-out", fill: "both" };
  return [chip, chip.animate([{ ...at(start), opacity: 0.4 }, { ...at(start), opacity: 1, offset: 0.15 }, { ...at(end), opacity: 1 }], timing)];
}

/** The box of part of a canvas of cells, in the window. */
export function boxOfCells(cells, row, column, high = 1, wide = 1) {
  const { left, top, width, height } = cells.canvas.getBoundingClientRect();
  const [w, h] = [width / cells.columns, height / cells.rows];
  return { left: left + column * w, top: top + row * h, width: wide * w, height: high * h };
}
