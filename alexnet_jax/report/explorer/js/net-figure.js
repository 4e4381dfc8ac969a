// Figure 2 of the paper: one box a tower, one stage a layer with weights, and what goes between them.
import { $, make, makeSvg, roomIn } from "./dom.js";
import { image, largest, largestOfChannel, pictureImage, sized, tilesImage } from "./draw.js";
import { moves, whenStill } from "./motion.js";
import { best, isFlat, layerName, nameOf, netPage, share, shownValues } from "./net-page.js";
import { t } from "./strings.js";

const WEIGHTED = ["conv", "local", "dense"];

function stages() {
  const found = [];
  netPage.net.layers.forEach((layer, index) => {
    if (WEIGHTED.includes(layer.kind) || !found.length) found.push([]);
    found[found.length - 1].push(index);
  });
  return found;
}

const towerName = (tower) => (tower < 0 ? t("bothTowers") : t("tower", { n: tower }));
const towersOf = (layer) => (layer.kind === "dense" && layer.reads === "sum" ? [-1] : [...Array(netPage.net.towers).keys()]);

/** Makes the figure; `look(index, tower)` is called where one chooses a layer. */
export function buildFigure(look) {
  const figure = $("figure");
  figure.replaceChildren(make("div", { class: "stage end" }, make("span", { class: "stage-name" }, t("picture")), make("canvas", { id: "figure-picture" })));
  stages().forEach((indices, number) => {
    const head = netPage.net.layers[indices[0]];
    const crosses = netPage.net.towers > 1 && number > 0 && head.reads === "both";
    figure.append(connector(netPage.net.towers === 1 ? "one" : number === 0 ? "split" : head.reads, crosses));
    const boxes = towersOf(head).map((tower) => {
      const box = make("div", { class: "tower" });
      if (netPage.net.towers > 1) box.append(make("span", { class: "tower-name" }, towerName(tower)));
      for (const index of indices) {
        const layer = netPage.net.layers[index];
        const across = layer.kind === "lrn" && layer.across && netPage.net.towers > 1 ? " ⇄" : "";
        const button = make("button", { type: "button", "data-layer": String(index), "data-tower": String(tower), "aria-label": netPage.net.towers > 1 ? `${layerName(layer)}, ${towerName(tower)}` : layerName(layer) },
          make("canvas", {}), make("span", {}, layerName(layer) + across));
        button.addEventListener("click", () => look(index, tower));
        box.append(button);
      }
      return box;
    });
    figure.append(make("div", { class: "stage" }, make("span", { class: "stage-name" }, head.output.join("×")), ...boxes));
  });
  if (netPage.net.hasClasses) {
    figure.append(connector("one", false), make("div", { class: "stage end" }, make("span", { class: "stage-name" }, t("answer")), make("strong", { id: "figure-answer" })));
  }
  fitTile();
  for (const canvas of figure.querySelectorAll("button canvas")) sized(canvas, ...boxSize());
  sized($("figure-picture"), END, END);
}

function connector(kind, crosses) {
  const lines = {
    one: [[0, 50, 100, 50]],
    split: [[0, 50, 100, 25], [0, 50, 100, 75]],
    own: [[0, 25, 100, 25], [0, 75, 100, 75]],
    both: [[0, 25, 100, 25], [0, 75, 100, 75], [0, 25, 100, 75], [0, 75, 100, 25]],
    sum: [[0, 25, 100, 50], [0, 75, 100, 50]],
  }[kind];
  const drawing = (turned) => {
    const svg = makeSvg("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", class: turned ? "narrow" : "wide", "aria-hidden": "true" });
    for (const [x1, y1, x2, y2] of lines) {
      const ends = turned ? { x1: y1, y1: x1, x2: y2, y2: x2 } : { x1, y1, x2, y2 };
      svg.append(makeSvg("line", { ...ends, class: y1 === y2 ? "along" : "across" }));
    }
    return svg;
  };
  const gap = make("div", { class: crosses || kind === "sum" ? "gap exchange" : "gap" }, drawing(false), drawing(true));
  if (crosses || kind === "sum") gap.append(make("span", {}, t(crosses ? "exchange" : "sumOfBoth")));
  return gap;
}

/** Maps as tiles of `tile` pixels, each to its own largest value, with a pixel between them. */
export const mapsImage = (layer, values, channels, columns, tile) => tilesImage(values, layer.output, channels, columns, tile);

export function mapImage(layer, values, channel) {
  const [rows, columns, channels] = layer.output;
  const most = largestOfChannel(values, channel, channels);
  return image(rows, columns, (r, c) => values[(r * columns + c) * channels + channel] / most);
}

export function unitsImage(values, first, count, columns, most) {
  const rows = Math.ceil(count / columns);
  return image(rows, columns, (r, c) => {
    const at = r * columns + c;
    return at < count ? values[first + at] / most : 0;
  });
}

const ACROSS = 4, DOWN = 2; // maps of a layer in the figure
const TILES = [18, 36]; // pixels that one may have
const END = 84, BORDERS = 20; // of the image and the answer; beside the maps of a box
let tile = TILES[0];

/** The side of a map, as large as the window allows all boxes to be beside each other. */
function fitTile() {
  const narrow = innerWidth <= 800;
  const gaps = [...$("figure").querySelectorAll(".gap")].reduce((sum, gap) => sum + (gap.classList.contains("exchange") ? 62 : 26), 0);
  const beside = narrow ? netPage.net.towers : stages().length;
  const room = roomIn($("figure"), 340) - (narrow ? 10 : 2 * END + gaps);
  tile = Math.max(TILES[0], Math.min(TILES[1], Math.floor((room / beside - BORDERS) / ACROSS)));
}

const boxSize = () => [ACROSS * tile - 1, DOWN * tile - 1];

const FLOW = 700; // milliseconds between two layers

/** Lets values flow along the lines once, from layer to layer, if one sees them. */
export function letFlow() {
  stopFlow();
  const { top, bottom } = $("figure").getBoundingClientRect();
  if (!moves() || bottom < 0 || top > innerHeight) return;
  const dashes = ["24", "0"].map((offset) => ({ strokeDasharray: "7 5", strokeDashoffset: offset, strokeWidth: "4px", stroke: "var(--above)" }));
  [...$("figure").querySelectorAll(".gap")].forEach((gap, number) => {
    for (const line of gap.querySelectorAll("line")) flowing.push(line.animate(dashes, { duration: FLOW, delay: (number * FLOW) / 2 }));
  });
}

let flowing = [];
function stopFlow() {
  for (const animation of flowing) animation.cancel();
  flowing = [];
}
whenStill(stopFlow);

/** Draws the figure, a layer's tower at each step. */
export function* figureParts() {
  for (const button of $("figure").querySelectorAll("button")) {
    const index = +button.dataset.layer;
    const tower = +button.dataset.tower;
    const layer = netPage.net.layers[index];
    const [first, behind] = share(layer, tower);
    const values = shownValues(layer, index);
    const count = behind - first;
    const context = sized(button.firstChild, ...boxSize());
    if (isFlat(layer)) {
      const [width, height] = boxSize();
      const columns = Math.max(Math.ceil(Math.sqrt((count * ACROSS) / DOWN)), Math.min(count, ACROSS));
      const rows = Math.ceil(count / columns);
      const side = Math.min(width / columns, height / rows);
      context.drawImage(unitsImage(values, first, count, columns, largest(values)), 0, 0, columns * side, rows * side);
    } else {
      const shown = Math.min(count, ACROSS * DOWN);
      const channels = Array.from({ length: shown }, (_, i) => first + Math.floor((i * count) / shown));
      context.drawImage(mapsImage(layer, values, channels, ACROSS, tile), 0, 0);
    }
    button.setAttribute("aria-pressed", String(index === netPage.layer && tower === netPage.tower));
    yield;
  }
  const context = sized($("figure-picture"), END, END);
  context.drawImage(pictureImage(netPage.cut, netPage.net.crop, netPage.net.channels), 0, 0, END, END);
  if (netPage.net.hasClasses) {
    const [label] = best(netPage.values.prob, 1);
    $("figure-answer").textContent = nameOf(label);
  }
}

export function drawFigure() {
  for (const _ of figureParts());
}
