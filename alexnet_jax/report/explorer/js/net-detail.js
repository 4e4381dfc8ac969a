// One layer, one channel, one value, and the part of the image that it depends on.
import { $, percent, roomIn, show, stepper } from "./dom.js";
import { image, inkColour, largest, outline, pictureImage, sized } from "./draw.js";
import { Cells } from "./cells.js";
import { drawFigure, mapImage, mapsImage, unitsImage } from "./net-figure.js";
import { drawGallery } from "./net-gallery.js";
import { sayInput } from "./net-input.js";
import { best, isAnswer, isFlat, layerName, nameOf, netPage, present, share, shownValues } from "./net-page.js";
import { drawSeeks } from "./net-seeks.js";
import { WHY } from "./net-sums.js";
import { endTravel, startTravel } from "./net-travel.js";
import { before, receptiveField } from "./why.js";
import { t } from "./strings.js";

let atlas, map;

function drawCut(canvas, room, withCover) {
  const side = Math.max(netPage.net.crop, Math.floor(room / netPage.net.crop) * netPage.net.crop);
  const shown = Math.min(side, room);
  const context = sized(canvas, shown, shown);
  context.drawImage(pictureImage(netPage.cut, netPage.net.crop, netPage.net.channels), 0, 0, shown, shown);
  const unit = shown / netPage.net.crop;
  if (netPage.values) {
    const { top, left, bottom, right } = receptiveField(netPage.net, netPage.layer, netPage.row, netPage.column);
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

/** Looks at a layer's tower. */
export function look(index, tower) {
  const old = present();
  const layer = netPage.net.layers[index];
  netPage.layer = index;
  netPage.tower = tower;
  const [first, behind] = share(layer, tower);
  if (isAnswer(layer)) [netPage.map] = best(netPage.values.prob, 1);
  else if (netPage.map < first || netPage.map >= behind) netPage.map = first;
  if (!isFlat(layer)) {
    // The same part of the picture, as far as the layers' sizes allow.
    const same = (place, axis) => Math.floor(((isFlat(old) ? 0.5 : (place + 0.5) / old.output[axis])) * layer.output[axis]);
    netPage.row = same(netPage.row, 0);
    netPage.column = same(netPage.column, 1);
  }
  netPage.inputMap = -1;
  drawFigure();
  drawDetail();
  netPage.moved();
  const { top } = $("detail").getBoundingClientRect();
  if (innerWidth <= 800 || top > innerHeight - 120) $("detail").scrollIntoView({ block: "start" });
}
netPage.look = look;

/** Sets a layer by its name and a channel or unit by its number, where they exist. */
export function place({ layer: name, channel }) {
  const index = netPage.net.layers.findIndex((layer) => layer.name === name);
  if (index < 0) return;
  const layer = netPage.net.layers[index];
  const count = layer.output[layer.output.length - 1];
  const number = Number.isInteger(channel) && channel >= 0 && channel < count ? channel : 0;
  const summed = layer.kind === "dense" && layer.reads === "sum";
  Object.assign(netPage, {
    layer: index, map: number, inputMap: -1, tower: summed ? -1 : Math.floor((number * netPage.net.towers) / count),
    row: (layer.output[0] - 1) >> 1, column: isFlat(layer) ? 0 : (layer.output[1] - 1) >> 1,
  });
}

export function buildDetail() {
  const pick = (row, column) => {
    const [first] = share(present(), netPage.tower);
    netPage.map = first + row * atlas.columns + column;
    netPage.inputMap = -1;
    drawDetail();
    netPage.moved();
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
  $("atlas").parentElement.after(stepper(atlas));
  $("map").after(stepper(map));
  startTravel(map);
  $("to-layers").addEventListener("click", () => $("figure").scrollIntoView());
  $("mask").addEventListener("click", () => {
    const layer = present();
    if (netPage.masks[layer.name]) delete netPage.masks[layer.name];
    else {
      const { values } = before(netPage.net, netPage.values, netPage.input, netPage.layer);
      netPage.masks[layer.name] = Uint8Array.from(values, () => (Math.random() >= layer.rate ? 1 : 0));
    }
    drawFigure();
    drawDetail();
  });
  $("draws").addEventListener("click", drawMany);
}

const DRAWS = 100;

/** The answer of one draw of this layer beside the net in use, where the net has classes. */
async function sayDraw() {
  const { net, masks, pixels, view } = netPage;
  const layer = present();
  const shown = net.hasClasses && layer.kind === "dropout";
  $("draws").hidden = !shown;
  $("draws-words").textContent = "";
  if (!shown || !masks[layer.name]) return;
  const { prob } = await netPage.engine.ask({ kind: "dropped", pixels, view, drops: masks });
  if (view === netPage.view && layer === present()) {
    netPage.drawn = prob;
    $("draws-words").textContent = t("drawSays", { ...answer(prob, "drawn", "drawnP"), ...answer(netPage.values.prob, "used", "usedP") });
  }
}

function answer(prob, name, share) {
  const [label] = best(prob, 1);
  return { [name]: nameOf(label), [share]: percent(prob[label]) };
}

async function drawMany() {
  const { pixels, view } = netPage;
  const layer = present();
  $("draws-words").textContent = t("working");
  const { prob, answers } = await netPage.engine.ask({ kind: "draws", pixels, view, count: DRAWS });
  if (view !== netPage.view || layer !== present()) return;
  netPage.draws = { prob, answers };
  const [label] = best(netPage.values.prob, 1);
  $("draws-words").textContent = t("drawsSay", {
    n: DRAWS, agree: answers.filter((each) => each === label).length, used: nameOf(label),
    usedP: percent(netPage.values.prob[label]), meanP: percent(prob[label]),
  });
}

const ATLAS = 330; // pixels that all channels together may be high

/** The side of a channel's tile: as large as all of them fit, at least `least`. */
function tileOf(count, room, least) {
  for (const tile of [94, 78, 62, 46]) {
    if (tile > least && Math.ceil(count / Math.floor(room / tile)) * tile <= ATLAS) return tile;
  }
  return least;
}

export function drawDetail() {
  for (const _ of detailParts());
}

let newest = 0; // the last drawing that was begun: it ends those before it

/** Draws the layer looked at, part by part. */
export function* detailParts() {
  const mine = ++newest;
  const layer = present();
  const flat = isFlat(layer);
  const [first, behind] = share(layer, netPage.tower);
  const count = behind - first;
  const where = netPage.net.towers > 1 ? ` · ${netPage.tower < 0 ? t("bothTowers") : t("tower", { n: netPage.tower })}` : "";
  $("detail-title").textContent = `${layerName(layer)}${where}`;
  $("detail-name").textContent = layerName(layer) === layer.name ? "" : t("calledInFeatures", { name: layer.name });
  $("detail-about").textContent = aboutLayer(layer);
  const room = roomIn($("atlas").parentElement);
  const tile = flat ? (count > 256 ? 12 : 24) : tileOf(count, room, layer.output[0] > 20 ? 46 : 30);
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
  sayDraw();
  yield;
  if (mine !== newest) return;
  yield* cellParts();
  drawSeeks();
}

function aboutLayer(layer) {
  const says = { n: layer.kernel || layer.size || layer.side || 0, s: layer.stride || 1, k: layer.k, a: layer.alpha, b: layer.beta, p: layer.rate };
  if (layer.kind === "conv") {
    const shape = netPage.model.arrays[`${layer.name}/kernel`].shape;
    const seen = shape[3];
    const whole = netPage.layer ? before(netPage.net, netPage.values, netPage.input, netPage.layer).shape[2] : netPage.net.channels;
    const readsAll = seen === whole ? (netPage.net.towers > 1 && netPage.layer ? t("readsBoth") : "") : t("readsOwn");
    const [height] = before(netPage.net, netPage.values, netPage.input, netPage.layer).shape;
    const padded = height + layer.pad[0] + layer.pad[1];
    return `${t("about_conv", { ...says, seen, h: height, pad: layer.pad.join(" + "), out: layer.output[0], padded })} ${readsAll}`;
  }
  if (layer.kind === "dense") {
    return `${t("about_dense")} ${netPage.net.towers > 1 ? t({ both: "readsBoth", own: "readsOwn", sum: "readsSum" }[layer.reads]) : ""}`;
  }
  if (layer.kind === "lrn") return `${t("about_lrn", says)} ${netPage.net.towers > 1 ? t(layer.across ? "lrnAcross" : "lrnInside") : ""}`;
  if (layer.kind === "pool") {
    const [h] = before(netPage.net, netPage.values, netPage.input, netPage.layer).shape;
    const size = t(layer.ceil ? "poolSizeUp" : "poolSize", { ...says, h, out: layer.output[0] });
    return t(layer.how === "max" ? "about_max" : "about_average", { ...says, size });
  }
  if (layer.kind === "activation") return t(`about_${layer.how}`);
  if (layer.kind === "dropout") return `${t("about_dropout", { p: percent(layer.rate) })} ${t(layer.inverted ? "dropInverted" : "dropScaled", { f: show(1 - layer.rate) })}`;
  return t(`about_${layer.kind}`, says);
}

export function drawCell() {
  for (const _ of cellParts());
}

function* cellParts() {
  const mine = ++newest;
  const layer = present();
  const flat = isFlat(layer);
  const values = shownValues(layer, netPage.layer);
  if (!flat) {
    const [rows, columns] = layer.output;
    map.cell = [netPage.row, netPage.column];
    const room = Math.min(330, roomIn($("map-side")));
    const side = Math.max(2, Math.min(40, Math.floor(room / columns)));
    map.draw(rows, columns, side, (context) => {
      context.drawImage(mapImage(layer, values, netPage.map), 0, 0, columns * side, rows * side);
    });
    $("map-title").textContent = t("mapOf", { n: netPage.map, size: `${rows}×${columns}` });
    $("map").setAttribute("aria-label", $("map-title").textContent);
  }
  yield;
  if (mine !== newest) return;
  drawCut($("sees"), Math.min(330, roomIn($("sees").parentElement)), false);
  drawCut($("picture"), Math.min(420, roomIn($("picture").parentElement)), true);
  yield;
  if (mine !== newest) return;
  const at = flat ? netPage.map : (netPage.row * layer.output[1] + netPage.column) * layer.output[2] + netPage.map;
  const value = values[at];
  const field = receptiveField(netPage.net, netPage.layer, netPage.row, netPage.column);
  const says = {
    layer: layerName(layer), n: netPage.map, row: netPage.row, column: netPage.column, value: show(value), ...field,
  };
  if (isAnswer(layer)) says.name = nameOf(netPage.map);
  sayInput(field);
  $("words").textContent = t(isAnswer(layer) ? "answerWords" : flat ? "unitWords" : "cellWords", says);
  $("why").replaceChildren(...WHY[layer.kind](layer, value, at));
  endTravel();
  drawGallery();
}

