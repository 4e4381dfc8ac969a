// The trained net: a picture's way through it, layer by layer, and the sum behind every value.
import { $, make, makeSvg, numberTable, percent, show, term } from "./dom.js";
import { image, inkColour, largest, outline, paint, pictureImage, sized } from "./draw.js";
import { Cells } from "./cells.js";
import { Engine } from "./engine.js";
import { bar } from "./lessons.js";
import { arraysOf, rootMeanSquare } from "./net.js";
import { convSum, denseSum, lrnValues, receptiveField, windowValues, before } from "./why.js";
import { t } from "./strings.js";

/** All that the page knows: the net, the picture, what the person looks at. */
export const netPage = {
  layer: 0, // index of the layer looked at
  tower: 0, // its tower; -1: a layer that has none
  map: 0, // its map, or unit
  row: 0,
  column: 0,
  inputMap: -1, // of the map before it whose patch is shown; -1: the weightiest
  tool: "move",
  masks: {}, // what a draw of dropout keeps, by layer
  runs: 0, // pictures computed
  values: null,
};
let net, engine, atlas, map, scanCells, busy = false, again = false;

const WEIGHTED = ["conv", "local", "dense"];
const isFlat = (layer) => layer.output.length === 1;
const present = () => net.layers[netPage.layer];
const centre = () => Math.floor((net.size - net.crop) / 2);

// Loading, and the pictures.

export function startNet(data) {
  net = netPage.net = data.net;
  netPage.view = { top: centre(), left: centre(), flip: false, cover: null };
  const [rows, columns] = net.layers[0].output;
  Object.assign(netPage, { row: (rows - 1) >> 1, column: columns ? (columns - 1) >> 1 : 0 });
  netPage.coverSide = Math.max(2, Math.round(net.crop / 4));
  engine = netPage.engine = new Engine($("worker").textContent);
  buildPicture(data.pictures);
  buildDetail();
  engine
    .ask({ kind: "load", net, places: data.places, base64: $("numbers").textContent })
    .then(({ numbers }) => {
      netPage.model = { net, arrays: arraysOf(numbers, data.places) };
      const { png } = data.pictures[0];
      return openFile(new Blob([bytesOf(png)], { type: "image/png" }));
    })
    .catch((error) => ($("picture-error").textContent = String(error)));
}

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/** Takes a picture; resolves when its values are there. */
export async function openFile(file) {
  try {
    const { pixels } = await engine.ask({ kind: "decode", file });
    netPage.pixels = pixels;
    $("picture-error").textContent = "";
  } catch {
    $("picture-error").textContent = t("notAPicture", { name: file.name || "" });
    return;
  }
  resetView();
}
netPage.openFile = openFile;

function resetView() {
  netPage.view = { top: centre(), left: centre(), flip: false, cover: netPage.view.cover };
  $("flip").setAttribute("aria-pressed", "false");
  compute();
}

/** Runs the net on the present view; while it runs, only the last wish is kept. */
async function compute() {
  if (busy || !netPage.pixels) {
    again = busy;
    return;
  }
  busy = true;
  forgetScan();
  try {
    do {
      again = false;
      const { pixels, view } = netPage;
      Object.assign(netPage, await engine.ask({ kind: "run", pixels, view }));
      await drawValues();
      netPage.runs += 1;
    } while (again);
  } catch (error) {
    $("picture-error").textContent = String(error);
  }
  busy = false;
}

function buildPicture(pictures) {
  for (const { name, png } of pictures) {
    const thumbnail = make("img", { alt: name, title: name, src: `data:image/png;base64,${png}` });
    const button = make("button", { type: "button" }, thumbnail);
    button.addEventListener("click", () => openFile(new Blob([bytesOf(png)], { type: "image/png" })));
    $("samples").append(button);
  }
  $("file").addEventListener("change", () => $("file").files[0] && openFile($("file").files[0]));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    if (file) openFile(file);
  });
  addEventListener("paste", (event) => {
    const [file] = event.clipboardData.files;
    if (file) openFile(file);
  });
  for (const tool of ["move", "cover"]) {
    const input = make("input", { type: "radio", name: "tool", value: tool, checked: tool === "move" });
    input.addEventListener("change", () => {
      netPage.tool = tool;
      if (tool === "cover" && !netPage.view.cover) {
        const at = Math.floor((net.crop - netPage.coverSide) / 2);
        netPage.view = { ...netPage.view, cover: { top: at, left: at, side: netPage.coverSide } };
        compute();
      }
    });
    $("tools").append(make("label", {}, input, make("span", { "data-t": `tool_${tool}` })));
  }
  for (const [key, sign, down, across] of [["left", "◀", 0, -1], ["up", "▲", -1, 0], ["down", "▼", 1, 0], ["right", "▶", 0, 1]]) {
    const button = make("button", { type: "button", "data-t-label": key }, sign);
    button.addEventListener("click", () => shift(down, across, Math.max(1, Math.round(net.crop / 32))));
    $("pad").append(button);
  }
  $("flip").addEventListener("click", () => {
    netPage.view = { ...netPage.view, flip: !netPage.view.flip };
    $("flip").setAttribute("aria-pressed", String(netPage.view.flip));
    compute();
  });
  $("reset").addEventListener("click", () => {
    netPage.view = { ...netPage.view, cover: null };
    netPage.tool = "move";
    document.querySelector('[name="tool"][value="move"]').checked = true;
    resetView();
  });
  const size = $("cover-size");
  Object.assign(size, { min: 1, max: Math.round(net.crop / 2), value: netPage.coverSide });
  size.addEventListener("input", () => {
    netPage.coverSide = +size.value;
    const { cover } = netPage.view;
    if (cover) placeCover(cover.top + cover.side / 2, cover.left + cover.side / 2);
    forgetScan();
  });
  const canvas = $("picture");
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  let grip = null;
  const scale = () => net.crop / canvas.getBoundingClientRect().width;
  const underCover = (event) => {
    const box = canvas.getBoundingClientRect();
    placeCover((event.clientY - box.top) * scale(), (event.clientX - box.left) * scale());
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    grip = { x: event.clientX, y: event.clientY, ...netPage.view };
    if (netPage.tool === "cover") underCover(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!grip) return;
    if (netPage.tool === "cover") return underCover(event);
    const right = Math.round((event.clientX - grip.x) * scale());
    const down = Math.round((event.clientY - grip.y) * scale());
    return placeView(grip.top - down, grip.left - (grip.flip ? -right : right));
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (grip = null));
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    shift(...step, event.shiftKey ? 8 : 1);
  });
  scanCells = new Cells($("scan-map"), { moved: drawScan });
  $("ten").addEventListener("click", averageViews);
  $("scan").addEventListener("click", scan);
}

/** Moves the picture, or the cover, by so many pixels. */
function shift(down, across, pixels) {
  const { view, coverSide } = netPage;
  if (netPage.tool === "cover" && view.cover) {
    const { top, left } = view.cover;
    placeCover(top + coverSide / 2 + down * pixels, left + coverSide / 2 + across * pixels);
  } else {
    placeView(view.top - down * pixels, view.left - (view.flip ? -across : across) * pixels);
  }
}

function placeView(top, left) {
  const least = -Math.floor(net.crop / 2);
  const inside = (x) => Math.min(Math.max(x, least), net.size - net.crop - least);
  const view = { ...netPage.view, top: inside(top), left: inside(left) };
  if (view.top === netPage.view.top && view.left === netPage.view.left) return;
  netPage.view = view;
  compute();
}

function placeCover(row, column) {
  const side = netPage.coverSide;
  const inside = (x) => Math.min(Math.max(Math.round(x - side / 2), 0), net.crop - side);
  netPage.view = { ...netPage.view, cover: { top: inside(row), left: inside(column), side } };
  compute();
}

// What is asked of the whole picture.

// Set apart, so that a name written from right to left turns nothing around it.
const nameOf = (label) => `\u2068${net.classNames[label] || t("class", { n: label })}\u2069`;

async function averageViews() {
  const views = net.tenViews.map(([top, left, flip]) => ({ top, left, flip, cover: null }));
  $("ten-words").textContent = t("working");
  const { prob } = await engine.ask({ kind: "average", pixels: netPage.pixels, views });
  netPage.ten = prob;
  const guesses = best(prob, 3).map((label) => `${nameOf(label)} ${percent(prob[label])}`);
  $("ten-words").textContent = t("tenWords", { guesses: guesses.join(", ") });
}

const SCAN = 9;

async function scan() {
  const { pixels, view, coverSide: side } = netPage;
  const plain = { ...view, cover: null };
  $("scan-words").textContent = t("working");
  const places = Array.from({ length: SCAN }, (_, i) => Math.round((i * (net.crop - side)) / (SCAN - 1)));
  const { values } = await engine.ask({ kind: "run", pixels, view: plain });
  const [label] = best(values.prob, 1);
  const { result } = await engine.ask({ kind: "scan", pixels, view: plain, label, side, places });
  if (!result) return;
  if (view !== netPage.view || pixels !== netPage.pixels) {
    $("scan-words").textContent = ""; // of another picture by now
    return;
  }
  netPage.scan = { result, label, plain: values.prob[label] };
  const worst = result.indexOf(Math.min(...result));
  scanCells.cell = [Math.floor(worst / SCAN), worst % SCAN];
  $("scan-map").hidden = false;
  drawScan();
}

function drawScan() {
  if (!netPage.scan) return;
  const { result, label, plain } = netPage.scan;
  const side = Math.floor(Math.min(270, innerWidth - 80) / SCAN);
  scanCells.draw(SCAN, SCAN, side, (context, cell) => {
    const picture = image(SCAN, SCAN, (r, c) => plain - result[r * SCAN + c]);
    context.drawImage(picture, 0, 0, SCAN * cell, SCAN * cell);
  });
  const [row, column] = scanCells.cell;
  const covered = percent(result[row * SCAN + column]);
  $("scan-words").textContent = t("scanWords", {
    name: nameOf(label), plain: percent(plain), covered, row: row + 1, column: column + 1, of: SCAN,
  });
  $("scan-map").setAttribute("aria-label", t("scan"));
}

function forgetScan() {
  netPage.scan = null;
  $("scan-map").hidden = true;
  $("scan-words").textContent = $("ten-words").textContent = "";
}

function best(values, count) {
  return [...values.keys()].sort((a, b) => values[b] - values[a]).slice(0, count);
}

function drawGuesses() {
  const list = $("guesses");
  let words;
  if (net.hasClasses) {
    const { prob } = netPage.values;
    const labels = best(prob, 5);
    list.replaceChildren(...labels.map((label) => bar(`${nameOf(label)}  ${percent(prob[label])}`, prob[label])));
    words = t("guessWords", { name: nameOf(labels[0]), p: percent(prob[labels[0]]) });
  } else {
    const last = net.layers[net.layers.length - 1];
    const channels = last.output[last.output.length - 1];
    const means = new Float64Array(channels);
    netPage.values[last.name].forEach((x, i) => (means[i % channels] += x / (netPage.values[last.name].length / channels)));
    const order = best(means, 5);
    list.replaceChildren(...order.map((c) => bar(`${t("mapName", { n: c + 1 })}  ${show(means[c])}`, means[c] / (means[order[0]] || 1))));
    words = t("strongestWords", { layer: last.name, map: order[0] + 1 });
  }
  $("guesses-words").textContent = words;
  const { cover, flip } = netPage.view;
  const view = [cover && t("isCovered"), flip && t("isFlipped")].filter(Boolean).join(" ");
  $("timing").textContent = `${view} ${t("timing", { ms: Math.round(netPage.milliseconds), macs: (net.layers.reduce((sum, l) => sum + l.macs, 0) / 1e6).toFixed(1) })}`;
}

// The picture, drawn; `box`: what the value looked at depends on.

function drawCut(canvas, room, withCover) {
  const side = Math.max(net.crop, Math.floor(room / net.crop) * net.crop);
  const shown = Math.min(side, room);
  const context = sized(canvas, shown, shown);
  context.drawImage(pictureImage(netPage.cut, net.crop, net.channels), 0, 0, shown, shown);
  const unit = shown / net.crop;
  if (netPage.values) {
    const { top, left, bottom, right } = receptiveField(net, netPage.layer, netPage.row, netPage.column);
    outline(context, left * unit, top * unit, (right - left + 1) * unit, (bottom - top + 1) * unit);
  }
  const { cover } = netPage.view;
  if (withCover && cover) {
    context.strokeStyle = inkColour();
    context.setLineDash([4, 3]);
    context.lineWidth = 1.5;
    context.strokeRect(cover.left * unit, cover.top * unit, cover.side * unit, cover.side * unit);
  }
  canvas.setAttribute("aria-label", t("pictureLabel", { top: netPage.view.top, left: netPage.view.left }));
}

// Figure 2: one box a tower, one stage a layer with weights, and what goes between them.

function stages() {
  const found = [];
  net.layers.forEach((layer, index) => {
    if (WEIGHTED.includes(layer.kind) || !found.length) found.push([]);
    found[found.length - 1].push(index);
  });
  return found;
}

const towersOf = (layer) => (layer.kind === "dense" && layer.reads === "sum" ? [-1] : [...Array(net.towers).keys()]);

function buildFigure() {
  const figure = $("figure");
  figure.replaceChildren(make("div", { class: "stage end" }, make("span", { class: "stage-name" }, t("picture")), make("canvas", { id: "figure-picture" })));
  stages().forEach((indices, number) => {
    const head = net.layers[indices[0]];
    const crosses = net.towers > 1 && number > 0 && head.reads === "both";
    figure.append(connector(net.towers === 1 ? "one" : number === 0 ? "split" : head.reads, crosses));
    const boxes = towersOf(head).map((tower) => {
      const box = make("div", { class: "tower" });
      if (net.towers > 1) box.append(make("span", { class: "tower-name" }, tower < 0 ? t("bothTowers") : t("tower", { n: tower + 1 })));
      for (const index of indices) {
        const layer = net.layers[index];
        const across = layer.kind === "lrn" && layer.across && net.towers > 1 ? " ⇄" : "";
        const button = make("button", { type: "button", "data-layer": String(index), "data-tower": String(tower) },
          make("canvas", {}), make("span", {}, layer.name + across));
        button.addEventListener("click", () => look(index, tower));
        box.append(button);
      }
      return box;
    });
    figure.append(make("div", { class: "stage" }, make("span", { class: "stage-name" }, head.output.join("×")), ...boxes));
  });
  if (net.hasClasses) {
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

/** Channels [first, behind the last] of a layer that tower `tower` holds. */
function share(layer, tower) {
  const channels = layer.output[layer.output.length - 1];
  if (tower < 0) return [0, channels];
  return [(tower * channels) / net.towers, ((tower + 1) * channels) / net.towers];
}

/** A layer's values as they are shown: after a draw of dropout those that it keeps. */
function shownValues(layer, index) {
  const mask = netPage.masks[layer.name];
  if (!mask) return netPage.values[layer.name];
  const { values } = before(net, netPage.values, netPage.input, index);
  return values.map((x, i) => (mask[i] ? (layer.inverted ? x / (1 - layer.rate) : x) : 0));
}

/** The largest size in one channel's map. */
function largestOf(values, channel, channels) {
  let most = 1e-12;
  for (let i = channel; i < values.length; i += channels) most = Math.max(most, Math.abs(values[i]));
  return most;
}

/** Maps as tiles of `tile` pixels, each to its own largest value, with a pixel between them. */
function mapsImage(layer, values, channels, columns, tile) {
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

function mapImage(layer, values, channel) {
  const [rows, columns, channels] = layer.output;
  const most = largestOf(values, channel, channels);
  return image(rows, columns, (r, c) => values[(r * columns + c) * channels + channel] / most);
}

function unitsImage(values, first, count, columns, most) {
  const rows = Math.ceil(count / columns);
  return image(rows, columns, (r, c) => {
    const at = r * columns + c;
    return at < count ? values[first + at] / most : 0;
  });
}

const STRIP = 4; // maps of a layer in the figure
const TILE = 21;

/** Draws the figure, a layer's tower at each step. */
function* figureParts() {
  for (const button of $("figure").querySelectorAll("button")) {
    const index = +button.dataset.layer;
    const tower = +button.dataset.tower;
    const layer = net.layers[index];
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
  context.drawImage(pictureImage(netPage.cut, net.crop, net.channels), 0, 0, 84, 84);
  if (net.hasClasses) {
    const [label] = best(netPage.values.prob, 1);
    $("figure-answer").textContent = nameOf(label);
  }
}

function drawFigure() {
  for (const _ of figureParts());
}

// One layer, one map, one value.

/** Looks at a layer's tower. */
export function look(index, tower) {
  const old = present();
  const layer = net.layers[index];
  netPage.layer = index;
  netPage.tower = tower;
  const [first, behind] = share(layer, tower);
  if (netPage.map < first || netPage.map >= behind) netPage.map = first;
  if (!isFlat(layer)) {
    // The same part of the picture, as far as the layers' sizes allow.
    const same = (place, axis) => Math.floor(((isFlat(old) ? 0.5 : (place + 0.5) / old.output[axis])) * layer.output[axis]);
    netPage.row = same(netPage.row, 0);
    netPage.column = same(netPage.column, 1);
  }
  netPage.inputMap = -1;
  drawFigure();
  drawDetail();
}
netPage.look = look;

function buildDetail() {
  const pick = (row, column) => {
    const [first] = share(present(), netPage.tower);
    netPage.map = first + row * atlas.columns + column;
    netPage.inputMap = -1;
    drawDetail();
  };
  atlas = new Cells($("atlas"), { moved: pick });
  atlas.exists = (row, column) => {
    const [first, behind] = share(present(), netPage.tower);
    return first + row * atlas.columns + column < behind;
  };
  map = new Cells($("map"), {
    moved: (row, column) => {
      netPage.row = row;
      netPage.column = column;
      drawCell();
    },
  });
  $("mask").addEventListener("click", () => {
    const layer = present();
    if (netPage.masks[layer.name]) delete netPage.masks[layer.name];
    else {
      const { values } = before(net, netPage.values, netPage.input, netPage.layer);
      netPage.masks[layer.name] = Uint8Array.from(values, () => (Math.random() >= layer.rate ? 1 : 0));
    }
    drawFigure();
    drawDetail();
  });
}

function drawDetail() {
  const layer = present();
  const flat = isFlat(layer);
  const [first, behind] = share(layer, netPage.tower);
  const count = behind - first;
  const where = net.towers > 1 ? ` · ${netPage.tower < 0 ? t("bothTowers") : t("tower", { n: netPage.tower + 1 })}` : "";
  $("detail-title").textContent = `${layer.name}${where}`;
  $("detail-about").textContent = aboutLayer(layer);
  const room = $("atlas").parentElement.clientWidth || 300;
  const tile = flat ? (count > 256 ? 12 : 24) : layer.output[0] > 20 ? 46 : 30;
  const columns = Math.max(1, Math.min(count, Math.floor(room / tile), flat ? Math.ceil(Math.sqrt(count)) : 16));
  const rows = Math.ceil(count / columns);
  const values = shownValues(layer, netPage.layer);
  atlas.cell = [Math.floor((netPage.map - first) / columns), (netPage.map - first) % columns];
  atlas.draw(rows, columns, tile, (context) => {
    if (flat) {
      context.drawImage(unitsImage(values, first, count, columns, largest(values)), 0, 0, columns * tile, rows * tile);
    } else {
      const channels = Array.from({ length: count }, (_, i) => first + i);
      context.drawImage(mapsImage(layer, values, channels, columns, tile), 0, 0);
    }
  });
  $("atlas-title").textContent = t(flat ? "units" : "maps", { n: count });
  $("atlas").setAttribute("aria-label", $("atlas-title").textContent);
  $("map-side").hidden = flat;
  $("mask").hidden = layer.kind !== "dropout";
  $("mask").textContent = t(netPage.masks[layer.name] ? "maskAway" : "maskDraw");
  drawCell();
}

function aboutLayer(layer) {
  const says = { n: layer.kernel || layer.size || layer.side || 0, s: layer.stride || 1, k: layer.k, a: layer.alpha, b: layer.beta, p: layer.rate };
  if (layer.kind === "conv") {
    const shape = netPage.model.arrays[`${layer.name}/kernel`].shape;
    const seen = shape[3];
    const whole = netPage.layer ? before(net, netPage.values, netPage.input, netPage.layer).shape[2] : net.channels;
    const readsAll = seen === whole ? (net.towers > 1 && netPage.layer ? t("readsBoth") : "") : t("readsOwn");
    const [height] = before(net, netPage.values, netPage.input, netPage.layer).shape;
    const padded = height + layer.pad[0] + layer.pad[1];
    return `${t("about_conv", { ...says, seen, h: height, pad: layer.pad.join(" + "), out: layer.output[0], padded })} ${readsAll}`;
  }
  if (layer.kind === "dense") {
    return `${t("about_dense")} ${net.towers > 1 ? t({ both: "readsBoth", own: "readsOwn", sum: "readsSum" }[layer.reads]) : ""}`;
  }
  if (layer.kind === "lrn") return `${t("about_lrn", says)} ${net.towers > 1 ? t(layer.across ? "lrnAcross" : "lrnInside") : ""}`;
  if (layer.kind === "pool") return t(layer.how === "max" ? "about_max" : "about_average", says);
  if (layer.kind === "activation") return t(`about_${layer.how}`);
  if (layer.kind === "dropout") return `${t("about_dropout", { p: percent(layer.rate) })} ${t(layer.inverted ? "dropInverted" : "dropScaled", { f: show(1 - layer.rate) })}`;
  return t(`about_${layer.kind}`, says);
}

function drawCell() {
  const layer = present();
  const flat = isFlat(layer);
  const values = shownValues(layer, netPage.layer);
  if (!flat) {
    const [rows, columns] = layer.output;
    map.cell = [netPage.row, netPage.column];
    const room = Math.min(330, $("map-side").clientWidth || 300);
    const side = Math.max(2, Math.min(40, Math.floor(room / columns)));
    map.draw(rows, columns, side, (context) => {
      context.drawImage(mapImage(layer, values, netPage.map), 0, 0, columns * side, rows * side);
    });
    $("map-title").textContent = t("mapOf", { n: netPage.map + 1, size: `${rows}×${columns}` });
    $("map").setAttribute("aria-label", $("map-title").textContent);
  }
  drawCut($("sees"), Math.min(250, $("sees").parentElement.clientWidth || 250), false);
  drawCut($("picture"), Math.min(330, $("picture").parentElement.clientWidth || 300), true);
  const at = flat ? netPage.map : (netPage.row * layer.output[1] + netPage.column) * layer.output[2] + netPage.map;
  const value = values[at];
  const field = receptiveField(net, netPage.layer, netPage.row, netPage.column);
  const says = {
    layer: layer.name, n: netPage.map + 1, row: netPage.row + 1, column: netPage.column + 1, value: show(value),
    top: field.top + 1, bottom: field.bottom + 1, left: field.left + 1, right: field.right + 1,
  };
  $("words").textContent = t(flat ? "unitWords" : "cellWords", says);
  $("why").replaceChildren(...WHY[layer.kind](layer, value, at));
}

// The sum behind a value.

const line = (...parts) => make("p", { class: "sum" }, ...parts);
const inputName = (index, channel) =>
  index ? t("mapName", { n: channel + 1 }) : t(net.channels === 1 ? "greyMap" : ["redMap", "greenMap", "blueMap"][channel]);

const WHY = {
  conv(layer, value) {
    const { layer: index, row, column, map: channel } = netPage;
    const sum = convSum(netPage.model, index, netPage.values, netPage.input, row, column, channel);
    const order = [...sum.maps].sort((a, b) => Math.abs(b.sum) - Math.abs(a.sum));
    const shown = order.find((m) => m.map === netPage.inputMap) || order[0];
    const top = order.slice(0, 6);
    if (!top.includes(shown)) top.push(shown);
    const rest = sum.maps.reduce((total, m) => total + m.sum, 0) - top.reduce((total, m) => total + m.sum, 0);
    const most = Math.max(1e-12, ...top.map((m) => Math.abs(m.sum)));
    const bars = make("ol", { class: "bars pick" }, ...top.map((m) => {
      const item = bar(`${inputName(index, m.map)}  ${show(m.sum)}`, Math.abs(m.sum) / most, m.sum < 0);
      const button = make("button", { type: "button", "aria-pressed": String(m === shown) }, ...item.childNodes);
      button.addEventListener("click", () => {
        netPage.inputMap = m.map;
        drawCell();
        $("why").querySelector('[aria-pressed="true"]').focus();
      });
      item.replaceChildren(button);
      return item;
    }));
    const patch = sum.patch(shown.map);
    const kernel = sum.kernel(shown.map);
    const products = patch.map((x, i) => x * kernel[i]);
    const restWords = sum.maps.length > top.length ? ` + ${term(rest)} ${t("theRest", { n: sum.maps.length - top.length })}` : "";
    return [
      make("h4", {}, t("whyConv", { n: layer.kernel * layer.kernel * sum.maps.length, k: layer.kernel, maps: sum.maps.length })),
      line(`${top.map((m) => term(m.sum)).join(" + ")}${restWords} + ${term(sum.bias)} ${t("biasWord")} = ${show(value)}`),
      make("div", { class: "columns" },
        make("div", {}, bars),
        make("div", { class: "working" },
          block(patch, layer.kernel, `${t("patch")}: ${inputName(index, shown.map)}`), make("span", {}, "×"),
          block(kernel, layer.kernel, t("kernelWord")), make("span", {}, "="),
          block(products, layer.kernel, `${t("products")}: ${show(shown.sum)}`))),
    ];
  },

  local(layer, value, at) {
    return [...WHY.conv(layer, value, at), make("p", {}, t("localOwn"))];
  },

  dense(layer, value) {
    const sum = denseSum(netPage.model, netPage.layer, netPage.values, netPage.input, netPage.map);
    const top = [...sum.inputs].sort((a, b) => Math.abs(b.product) - Math.abs(a.product)).slice(0, 8);
    const most = Math.max(1e-12, Math.abs(top[0].product));
    const towers = layer.reads === "sum" && net.towers > 1;
    const parts = towers ? sum.towers.map((x, n) => `${term(x)} ${t("fromTower", { n: n + 1 })}`) : [term(sum.value - sum.bias)];
    const says = (i) => `${towers ? t("tower", { n: i.tower + 1 }) + " " : ""}${t("inputName", { n: i.at + 1 })}: ${show(i.x)} × ${term(i.weight)} = ${show(i.product)}`;
    return [
      make("h4", {}, t("whyDense", { n: sum.inputs.length })),
      line(`${parts.join(" + ")} + ${term(sum.bias)} ${t("biasWord")} = ${show(value)}`),
      make("p", {}, t("weightiest")),
      make("ol", { class: "bars" }, ...top.map((i) => bar(says(i), Math.abs(i.product) / most, i.product < 0))),
    ];
  },

  activation(layer, value, at) {
    const x = before(net, netPage.values, netPage.input, netPage.layer).values[at];
    const form = { relu: `max(0, ${show(x)})`, tanh: `tanh(${show(x)})`, sigmoid: `1 / (1 + exp(−${term(x)}))` }[layer.how];
    return [line(`${form} = ${show(value)}`)];
  },

  lrn(layer, value) {
    const { layer: index, row, column, map: channel } = netPage;
    const found = lrnValues(net, index, netPage.values, netPage.input, row, column, channel);
    const sum = found.reduce((total, { x }) => total + x * x, 0);
    const own = found.find(({ map: m }) => m === channel).x;
    const base = layer.k + layer.alpha * sum;
    const table = numberTable(found.map(({ x }) => x), found.length, paint, {
      mark: found.findIndex(({ map: m }) => m === channel),
      caption: t("lrnMaps", { from: found[0].map + 1, to: found[found.length - 1].map + 1 }),
    });
    return [
      make("div", { class: "working" }, table),
      line(`${t("squares")}: ${found.map(({ x }) => `${term(x)}²`).join(" + ")} = ${show(sum)}`),
      line(`${show(own)} / (${show(layer.k)} + ${show(layer.alpha)} × ${show(sum)})^${show(layer.beta)} = ${show(own)} / ${show(base ** layer.beta)} = ${show(value)}`),
    ];
  },

  sameMapLrn(layer, value) {
    const { layer: index, row, column, map: channel } = netPage;
    const { values, columns, top, left } = windowValues(net, index, netPage.values, netPage.input, row, column, channel);
    const sum = values.reduce((total, x) => total + x * x, 0);
    const mark = (row - top) * columns + column - left;
    return [
      make("div", { class: "working" }, numberTable(values, columns, paint, { mark, caption: t("window") })),
      line(`${t("squares")}: ${show(sum)}`),
      line(`${show(values[mark])} / (${show(layer.k)} + ${show(layer.alpha)} × ${show(sum)})^${show(layer.beta)} = ${show(value)}`),
    ];
  },

  rmsNorm(layer, value, at) {
    const x = before(net, netPage.values, netPage.input, netPage.layer).values;
    return [line(`${show(x[at])} / ${show(rootMeanSquare(x))} = ${show(value)}`)];
  },

  pool(layer, value) {
    const { layer: index, row, column, map: channel } = netPage;
    const { values, columns } = windowValues(net, index, netPage.values, netPage.input, row, column, channel);
    const max = layer.how === "max";
    const mark = max ? values.indexOf(Math.max(...values)) : -1;
    const sum = values.reduce((a, b) => a + b, 0);
    return [
      make("div", { class: "working" }, numberTable(values, columns, paint, { mark, caption: t("window") })),
      line(max ? `${t("largest")} = ${show(value)}` : `${show(sum)} / ${values.length} = ${show(value)}`),
    ];
  },

  adaptivePool(layer, value) {
    return WHY.pool({ ...layer, how: "average" }, value);
  },

  dropout(layer, value, at) {
    const x = before(net, netPage.values, netPage.input, netPage.layer).values[at];
    const mask = netPage.masks[layer.name];
    const used = layer.inverted ? x : x * (1 - layer.rate);
    const lines = [line(`${t("atUse")}: ${show(x)}${layer.inverted ? "" : ` × ${show(1 - layer.rate)}`} = ${show(used)}`)];
    if (mask) {
      const kept = mask.reduce((a, b) => a + b, 0);
      lines.push(line(`${t("inTraining")}: ${show(x)} → ${show(value)} (${t(mask[at] ? "isKept" : "isZeroed")})`));
      lines.push(make("p", {}, t("maskWords", { kept, of: mask.length })));
    }
    return lines;
  },
};

/** k x k numbers: as numbers where there is room, else as colours. */
function block(values, columns, caption) {
  if (columns <= 5) return numberTable(values, columns, paint, { caption });
  const canvas = make("canvas", {});
  const side = Math.floor(132 / columns);
  const context = sized(canvas, columns * side, columns * side);
  const most = largest(values);
  context.drawImage(image(columns, columns, (r, c) => values[r * columns + c] / most), 0, 0, columns * side, columns * side);
  return make("figure", {}, make("figcaption", {}, caption), canvas);
}

function* valueParts() {
  drawGuesses();
  yield;
  yield* figureParts();
  drawDetail();
}

const TURN = 8; // milliseconds of drawing, then the page listens

/** Draws what a picture's values changed. */
async function drawValues() {
  let started = performance.now();
  for (const _ of valueParts()) {
    if (performance.now() - started < TURN) continue;
    await new Promise((resolve) => setTimeout(resolve));
    started = performance.now();
  }
}

/** Draws all of it, in the present language and colours. */
export function drawNet() {
  $("net-about").textContent = t(net.parameters < net.allParameters ? "netPart" : "netWhole", {
    name: net.name, step: net.step, parameters: net.parameters.toLocaleString("en"), all: net.allParameters.toLocaleString("en"),
    last: net.layers[net.layers.length - 1].name, crop: net.crop,
  });
  $("guesses-title").textContent = t(net.hasClasses ? "guesses" : "strongest");
  $("with-classes").hidden = !net.hasClasses;
  buildFigure();
  if (!netPage.values) return;
  drawValues();
  drawScan();
}
