// The values behind the cell that one looks at, on their way: from the image, through the products, into the map.
import { $ } from "./dom.js";
import { Journey, boxOfCells, whenStill } from "./motion.js";
import { isFlat, netPage, present } from "./net-page.js";
import { receptiveField } from "./why.js";
import { t } from "./strings.js";

let journey, cells;

/** `map`: the cells of the channel looked at. */
export function startTravel(map) {
  cells = map;
  journey = new Journey();
  $("net-travel").addEventListener("click", travel);
  whenStill(endTravel);
}

/** The values that were on their way belong to another cell. */
export function endTravel() {
  journey.stop();
  say(false);
  const { kind } = present();
  const away = isFlat(present()) || !["conv", "local", "pool"].includes(kind);
  $("net-travels").hidden = $("net-rests").hidden = away;
  $("net-rests").textContent = t(kind === "pool" ? "restsPool" : "restsSum");
}

function say(on) {
  const button = $("net-travel");
  button.dataset.t = on ? "travelStop" : "travel";
  button.textContent = t(button.dataset.t);
  button.setAttribute("aria-pressed", String(on));
}

/** Where the cell's receptive field stands in the image that the page shows beside the map. */
function fieldBox() {
  const { net, layer, row, column } = netPage;
  const { top, left, bottom, right } = receptiveField(net, layer, row, column);
  const box = $("sees").getBoundingClientRect();
  const unit = box.width / net.crop;
  return { left: box.left + left * unit, top: box.top + top * unit, width: (right - left + 1) * unit, height: (bottom - top + 1) * unit };
}

/** What is drawn in a block, to be taken along. */
function copyOf(block) {
  const copy = block.cloneNode(true);
  if (block instanceof HTMLCanvasElement) copy.getContext("2d").drawImage(block, 0, 0);
  copy.querySelector?.("caption")?.remove();
  return copy;
}

/** The part of the image under the field. */
function fieldImage() {
  const copy = document.createElement("canvas");
  const [box, whole] = [fieldBox(), $("sees").getBoundingClientRect()];
  const unit = $("sees").width / whole.width;
  Object.assign(copy, { width: Math.max(1, box.width * unit), height: Math.max(1, box.height * unit) });
  copy.getContext("2d").drawImage($("sees"), (whole.left - box.left) * unit, (whole.top - box.top) * unit);
  return copy;
}

async function travel() {
  const wasOn = journey.on;
  endTravel();
  if (wasOn) return;
  say(true);
  const box = (element) => () => (element.tBodies ? element.tBodies[0] : element).getBoundingClientRect();
  const way = (from, to) => ({ from: box(from), to: box(to), copy: () => copyOf(from) });
  // Patch, kernel and products of a convolution; the window of a pooling. Tables, or images where they are large.
  const blocks = [...$("why").querySelector(".working").querySelectorAll("table, canvas")];
  const [patch, kernel, products] = blocks;
  const sum = $("why").querySelector(".sum");
  const value = sum.textContent.split("=").pop().trim();
  const total = () => {
    const range = document.createRange(); // the end of the line, which says the value
    range.setStart(sum.lastChild, Math.max(0, sum.lastChild.length - value.length));
    range.setEnd(sum.lastChild, sum.lastChild.length);
    return range.getBoundingClientRect();
  };
  const last = products || patch;
  const stages = [
    [{ from: fieldBox, to: box(patch), copy: fieldImage }],
    ...(products ? [[way(patch, products), way(kernel, products)]] : []),
    [{ ...way(last, last), to: total }],
    [{ from: total, to: () => boxOfCells(cells, netPage.row, netPage.column), text: value }],
  ];
  if (await journey.go(stages, { travel: 900, step: 0 })) endTravel();
}
