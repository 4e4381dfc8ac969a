// Figure 2 of the paper: one box a tower, one stage a layer with weights, and what goes between them.
import { $, make, makeSvg } from "./dom.js";
import { image, largest, pictureImage, sized } from "./draw.js";
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

/** The largest size in one channel's map. */
function largestOf(values, channel, channels) {
  let most = 1e-12;
  for (let i = channel; i < values.length; i += channels) most = Math.max(most, Math.abs(values[i]));
  return most;
}

/** Maps as tiles of `tile` pixels, each to its own largest value, with a pixel between them. */
export function mapsImage(layer, values, channels, columns, tile) {
  const [height, width, all] = layer.output;
  const most = new Map(channels.map((channel) => [channel, largestOf(values, channel, all)]));
  const inside = tile - 1;
  return image(Math.ceil(channels.length / columns) * tile, columns * tile, (y, x) => {
    const channel = channels[((y / tile) | 0) * columns + ((x / tile) | 0)];
    const v = y % tile;
    const w = x % tile;
    if (channel === undefined || v === inside || w === inside) return 0;
    const at = (((v * height) / inside) | 0) * width + (((w * width) / inside) | 0);
    return values[at * all + channel] / most.get(channel);
  });
}

export function mapImage(layer, values, channel) {
  const [rows, columns, channels] = layer.output;
  const most = largestOf(values, channel, channels);
  return image(rows, columns, (r, c) => values[(r * columns + c) * channels + channel] / most);
}

export function unitsImage(values, first, count, columns, most) {
  const rows = Math.ceil(count / columns);
  return image(rows, columns, (r, c) => {
    const at = r * columns + c;
    return at < count ? values[first + at] / most : 0;
  });
}

const STRIP = 4; // maps of a layer in the figure
const TILE = 21;

/** Draws the figure, a layer's tower at each step. */
export function* figureParts() {
  for (const button of $("figure").querySelectorAll("button")) {
    const index = +button.dataset.layer;
    const tower = +button.dataset.tower;
    const layer = netPage.net.layers[index];
    const [first, behind] = share(layer, tower);
    const values = shownValues(layer, index);
    const context = sized(button.firstChild, STRIP * TILE - 1, TILE - 1);
    if (isFlat(layer)) {
      const count = behind - first;
      const columns = Math.max(Math.ceil(Math.sqrt(count * STRIP)), Math.min(count, STRIP));
      const rows = Math.ceil(count / columns);
      const side = Math.min((STRIP * TILE - 1) / columns, (TILE - 1) / rows);
      context.drawImage(unitsImage(values, first, count, columns, largest(values)), 0, 0, columns * side, rows * side);
    } else {
      const channels = Array.from({ length: STRIP }, (_, i) => first + Math.floor((i * (behind - first)) / STRIP));
      context.drawImage(mapsImage(layer, values, channels, STRIP, TILE), 0, 0);
    }
    button.setAttribute("aria-pressed", String(index === netPage.layer && tower === netPage.tower));
    yield;
  }
  const context = sized($("figure-picture"), 84, 84);
  context.drawImage(pictureImage(netPage.cut, netPage.net.crop, netPage.net.channels), 0, 0, 84, 84);
  if (netPage.net.hasClasses) {
    const [label] = best(netPage.values.prob, 1);
    $("figure-answer").textContent = nameOf(label);
  }
}

export function drawFigure() {
  for (const _ of figureParts());
}
