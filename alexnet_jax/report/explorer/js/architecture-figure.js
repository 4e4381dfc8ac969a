// Figure 2 of the paper to scale: boxes of rows x columns x channels, and what one value of the next box reads.
//
// All is placed along the flow (u) and across it (v). In a wide window the flow goes to the right and the towers
// lie one above the other; in a narrow one it goes down and they stand beside each other.
import { makeSvg } from "./dom.js";
import { isFlat } from "./net-page.js";
import { t } from "./strings.js";
import { window_ } from "./why.js";

const SLANT = 0.3; // of a column's length, either way
const BAR = 8; // thickness of a fully connected layer
const BETWEEN = 26; // the towers
const WIDE = { image: 190, box: { 1: 190, 2: 140 }, bar: { 1: 200, 2: 150 }, before: 26, behind: 42, channels: 0.38 };
const NARROW = { image: 110, box: { 1: 130, 2: 90 }, bar: { 1: 200, 2: 130 }, before: 0, behind: 0, channels: 0.8 };

/** The image, then each layer with weights: {name, index, layer, towers, output, then}. */
function stagesOf(net, layers) {
  const stages = [{ name: t("rowImage"), index: -1, towers: [-1], output: [net.crop, net.crop, net.channels] }];
  layers.forEach((layer, index) => {
    if (layer.parameters) {
      const apart = net.towers > 1 && layer.reads !== "sum";
      const shares = apart ? net.towers : 1;
      const output = [...layer.output.slice(0, -1), layer.output[layer.output.length - 1] / shares];
      stages.push({ name: layer.name, index, layer, towers: apart ? [...Array(shares).keys()] : [-1], output });
    } else if (layer.kind === "pool") {
      stages[stages.length - 1].then = t("figureThen", { kind: t(`kind_${layer.how}`) });
    }
  });
  return stages;
}

/** The rows [first, last] of the box before that the middle value of `stage` reads. */
function windowOf(net, layers, previous, stage) {
  let rows = stage.output.length > 1 ? [(stage.output[0] - 1) >> 1, (stage.output[0] - 1) >> 1] : [0, 0];
  for (let i = stage.index; i > previous.index; i--) {
    const length = i ? layers[i - 1].output[0] : net.crop;
    rows = isFlat(layers[i]) || layers[i].kind === "rmsNorm" ? [0, length - 1] : window_(layers[i], rows, length);
  }
  return rows;
}

/** Draws the figure in `room` pixels. */
export function drawFigure2(svg, net, layers, room) {
  const stages = stagesOf(net, layers);
  const wide = room >= 100 * stages.length;
  const limits = wide ? WIDE : NARROW;
  const boxes = stages.filter(({ output }) => output.length > 1);
  const largestSide = Math.max(1, ...boxes.slice(1).map(({ output }) => output[0]));
  const most = Math.max(1, ...stages.filter(({ output }) => output.length === 1).map(({ output }) => output[0]));
  const scale = {
    pixel: Math.min(limits.image / net.crop, limits.box[net.towers] / largestSide),
    unit: limits.bar[net.towers] / most,
  };
  const channels = boxes.reduce((sum, { output }) => sum + output[2], 0);
  scale.channel = Math.min(scale.pixel, (limits.channels * room) / channels);
  const across = place(stages, net, scale, { limits, room, wide });
  const at = (u, v) => (wide ? [u, v] : [v, u]);
  svg.replaceChildren();
  stages.forEach((stage, number) => {
    for (const box of stage.boxes) drawBox(svg, stage, box, at);
    if (number) connect(svg, stages[number - 1], stage, windowOf(net, layers, stages[number - 1], stage), scale, at);
  });
  for (const stage of stages) label(svg, stage, across, wide);
  const first = stages.find(({ towers }) => towers.length > 1);
  if (first) nameTowers(svg, first, wide);
  const last = stages[stages.length - 1];
  const length = wide ? room : last.end + 6;
  const size = wide ? [room, across] : [room, length];
  svg.dataset.flow = wide ? "right" : "down";
  svg.setAttribute("viewBox", `0 0 ${size[0]} ${size[1]}`);
  svg.setAttribute("width", size[0]);
  svg.setAttribute("height", size[1]);
  svg.setAttribute("aria-label", t("figureLabel", { layers: stages.map((stage) => `${stage.name} ${sizeOf(stage)}`).join(", ") }));
}

/** Gives each stage its boxes {tower, u, v, thick, high, slant}; returns how far all reaches across. */
function place(stages, net, scale, { limits, room, wide }) {
  for (const stage of stages) {
    const flat = stage.output.length === 1;
    stage.high = flat ? stage.output[0] * scale.unit : stage.output[0] * scale.pixel;
    stage.slant = flat ? 0 : stage.output[1] * scale.pixel * SLANT;
    stage.thick = flat ? BAR : stage.output[2] * scale.channel;
  }
  const band = Math.max(...stages.filter(({ towers }) => towers[0] >= 0 || net.towers === 1).map((s) => s.high + s.slant));
  const needed = Math.max(net.towers * band + (net.towers - 1) * BETWEEN, ...stages.map((s) => s.high + s.slant));
  const across = wide ? needed + limits.before + limits.behind : room;
  const middle = wide ? limits.before + needed / 2 : room / 2;
  const used = stages.reduce((sum, s) => sum + s.thick + s.slant, 0);
  const labels = 28; // half a label stands out at either end
  const gap = wide ? (room - used - 2 * labels) / (stages.length - 1) : 40;
  let u = wide ? labels : 0;
  for (const stage of stages) {
    if (!wide) u += 22; // its label
    stage.start = u;
    stage.boxes = stage.towers.map((tower) => {
      const aside = tower < 0 ? 0 : (tower - (net.towers - 1) / 2) * (band + BETWEEN);
      return { tower, u, v: middle + aside + (stage.slant - stage.high) / 2 };
    });
    stage.end = u + stage.thick + stage.slant;
    u = stage.end + gap;
  }
  return across;
}

const points = (corners) => corners.map((corner) => corner.join(",")).join(" ");

/** A point of the side that a box turns to the next one: `rows` down and `columns` aslant, in pixels of the page. */
const onSide = (stage, box, rows, columns) => [box.u + stage.thick + columns * SLANT, box.v + rows - columns * SLANT];

function drawBox(svg, stage, box, at) {
  const { thick, high, slant } = stage;
  const { u, v } = box;
  const shape = (name, corners) => svg.append(makeSvg("polygon", { class: name, points: points(corners.map(([a, b]) => at(a, b))) }));
  shape("front", [[u, v], [u + thick, v], [u + thick, v + high], [u, v + high]]);
  if (!slant) return;
  shape("side", [[u, v], [u + slant, v - slant], [u + thick + slant, v - slant], [u + thick, v]]);
  shape("side", [[u + thick, v], [u + thick + slant, v - slant], [u + thick + slant, v + high - slant], [u + thick, v + high]]);
}

const sizeOf = ({ towers, output }) => `${towers.length > 1 ? `${towers.length} × ` : ""}${output.join("×")}`;

function label(svg, stage, across, wide) {
  const text = (x, y, words, attributes) => svg.append(makeSvg("text", { x, y, ...attributes }, words));
  if (wide) {
    const middle = { "text-anchor": "middle" };
    const x = (stage.start + stage.end) / 2;
    text(x, 14, stage.name, { ...middle, class: "name" });
    text(x, across - 24, sizeOf(stage), middle);
    if (stage.then) text(x, across - 8, stage.then, middle);
  } else {
    const y = stage.start - 8;
    text(0, y, stage.name, { class: "name" });
    text(62, y, [sizeOf(stage), ...(stage.then ? [stage.then] : [])].join(" · "), {});
  }
}

/** Says by a stage's boxes which tower they are. */
function nameTowers(svg, stage, wide) {
  for (const { tower, v } of stage.boxes) {
    const [x, y] = wide ? [(stage.start + stage.end) / 2, v - stage.slant - 6] : [v + (stage.high - stage.slant) / 2, stage.end + 14];
    svg.append(makeSvg("text", { x, y, "text-anchor": "middle" }, t("tower", { n: tower })));
  }
}

/** Draws what one value of `stage` reads of the boxes before, [first, last] rows and as many columns. */
function connect(svg, previous, stage, [first, last], scale, at) {
  const flat = previous.output.length === 1;
  const reads = stage.layer.reads;
  for (const from of previous.boxes) {
    const [low, high] = [first * scale.pixel, (last + 1) * scale.pixel];
    const corners = flat
      ? [[from.u + BAR, from.v], [from.u + BAR, from.v + previous.high]]
      : [[low, high], [low, low], [high, low], [high, high]].map(([r, c]) => onSide(previous, from, r, c));
    if (!flat) svg.append(makeSvg("polygon", { class: "window", points: points(corners.map(([u, v]) => at(u, v))) }));
    for (const to of stage.boxes) {
      const across = from.tower >= 0 && to.tower >= 0 && from.tower !== to.tower;
      if (across && reads === "own") continue;
      const ends = stage.output.length === 1 ? [to.v, to.v + stage.high] : [to.v + stage.high / 2, to.v + stage.high / 2];
      const outer = flat ? corners : [corners[0], corners[3]].sort((a, b) => a[1] - b[1]);
      const sides = flat ? outer : [corners[0], corners[2]].sort((a, b) => a[1] - b[1]);
      sides.forEach(([u, v], i) => {
        const [[x1, y1], [x2, y2]] = [at(u, v), at(to.u, ends[i])];
        svg.append(makeSvg("line", { x1, y1, x2, y2, class: across ? "across" : "along" }));
      });
    }
  }
}
