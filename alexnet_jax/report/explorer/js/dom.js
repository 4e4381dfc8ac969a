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
