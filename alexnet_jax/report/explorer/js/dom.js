// Small helpers for the page.
import { t } from "./strings.js";

export const $ = (id) => document.getElementById(id);

/** An element; text goes in as text, never as markup. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key in element && typeof value !== "string") element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

export function makeSvg(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** A number for reading: three significant digits, a true minus sign. */
export function show(x) {
  if (x === 0 || Object.is(x, -0)) return "0";
  const size = Math.abs(x);
  const text = size >= 1e6 || size < 1e-4 ? x.toExponential(1) : String(+x.toPrecision(3));
  return text.replace(/-/g, "\u2212");
}

/** The same for a narrow cell: two digits. */
export const brief = (x) => show(Number(x.toPrecision(2)));

/** The same as a factor or summand, in brackets where it is negative. */
export const term = (x) => (x < 0 ? `(${show(x)})` : show(x));

/** The numbers of a sum with as many decimals as its total, each rounded so that what is shown adds up.
 *
 * `size`: of what is to have three digits, else the total. Returns {terms, total}, texts; the rounding's
 * remainder goes to the terms that were rounded farthest.
 */
export function summands(values, total, size = Math.abs(total)) {
  const least = Math.max(size, 1e-5 * Math.max(...values.map(Math.abs)), 1e-12);
  let decimals = Math.max(0, 2 - Math.floor(Math.log10(least)));
  const exact = values.map((x) => x * 10 ** decimals);
  let whole = [...exact.map(Math.round), Math.round(total * 10 ** decimals)]; // the total last
  const missing = whole.reduce((rest, x, i) => (i < values.length ? rest - x : rest + x), 0);
  const sign = Math.sign(missing);
  const order = [...values.keys()].sort((a, b) => sign * (exact[b] - whole[b] - (exact[a] - whole[a])));
  for (const i of order.slice(0, Math.abs(missing))) whole[i] += sign;
  while (decimals > 0 && whole.every((x) => x % 10 === 0)) {
    whole = whole.map((x) => x / 10);
    decimals -= 1;
  }
  const text = (x) => (Math.abs(x) / 10 ** decimals).toFixed(decimals);
  const signed = (x) => (x < 0 ? `\u2212${text(x)}` : text(x));
  return { terms: whole.slice(0, -1).map((x) => (x < 0 ? `(${signed(x)})` : text(x))), total: signed(whole[values.length]) };
}

export const percent = (p) => `${(100 * p).toFixed(1)} %`;

/** A slider with its name and its value; `changed(value)`. */
export function slider(key, from, to, step, value, changed) {
  const output = make("output", {}, show(value));
  const input = make("input", { type: "range", min: String(from), max: String(to), step: String(step) });
  input.value = value;
  input.addEventListener("input", () => {
    output.textContent = show(+input.value);
    changed(+input.value);
  });
  return make("label", { class: "slider" }, make("span", { "data-t": key }, t(key)), input, output);
}

/** A table of numbers with their colours behind them; `mark`: index of a cell to frame. */
export function numberTable(values, columns, paint, { most, mark = -1, caption } = {}) {
  const scale = most || Math.max(...values.map(Math.abs)) || 1;
  const table = make("table", { class: "cellsof" });
  if (caption) table.append(make("caption", {}, caption));
  const body = make("tbody");
  for (let i = 0; i < values.length; i += columns) {
    const row = make("tr");
    for (let j = i; j < i + columns; j++) {
      const cell = make("td", j === mark ? { class: "mark" } : {}, Number.isFinite(values[j]) ? (columns > 3 ? brief : show)(values[j]) : "");
      if (Number.isFinite(values[j])) paint(cell, values[j] / scale);
      row.append(cell);
    }
    body.append(row);
  }
  table.append(body);
  return table;
}

/** A row of a bar chart: its words, and a bar of `share` of the width. */
export function bar(text, share, below = false) {
  const inside = make("span", { class: below ? "fill below" : "fill" });
  inside.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  return make("li", {}, make("span", { class: "name" }, text), make("span", { class: "track" }, inside));
}

/** The width that an element's content may have, in CSS pixels. */
export function roomIn(element, otherwise = 300) {
  const { paddingLeft, paddingRight } = getComputedStyle(element);
  return element.clientWidth ? element.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight) : otherwise;
}

/** Four buttons that go from cell to cell where cells are too small for a finger; `press()`: a fifth's. */
export function stepper(cells, press) {
  const steps = [["left", "\u25c0", 0, -1], ["up", "\u25b2", -1, 0], ["down", "\u25bc", 1, 0], ["right", "\u25b6", 0, 1]];
  const middle = press ? [make("button", { type: "button", "data-way": "paintCell", "data-t-label": "paintCell", "aria-label": t("paintCell") }, "\u25cf")] : [];
  middle.forEach((button) => button.addEventListener("click", () => press(...cells.cell)));
  return make("div", { class: "pad stepper" }, ...middle, ...steps.map(([key, sign, down, across]) => {
    const button = make("button", { type: "button", "data-way": key, "data-t-label": key, "aria-label": t(key) }, sign);
    button.addEventListener("click", () => cells.go(cells.cell[0] + down, cells.cell[1] + across));
    return button;
  }));
}
