// Lesson 3, the architecture: figure 2 to scale, the table of layers, what each convolution sees.
import { drawFigure2 } from "./architecture-figure.js";
import { STRINGS } from "./architecture-strings.js";
import { $, make, percent, roomIn } from "./dom.js";
import { outline, pictureImage, sized } from "./draw.js";
import { isFlat, layerName, netPage } from "./net-page.js";
import { addStrings, t } from "./strings.js";
import { receptiveField } from "./why.js";

addStrings(STRINGS);

let net; // as the page's data have it
let inView = false; // whether one sees what the layers see
const COLUMNS = ["Layer", "Does", "Kernel", "Stride", "Pad", "Output", "Parameters", "Neurons", "Macs"];
const COUNTS = ["parameters", "neurons", "macs"];
const counted = (x) => x.toLocaleString("en");

export function startArchitecture(data) {
  net = data.net;
  new IntersectionObserver(([entry]) => {
    inView = entry.isIntersecting;
    if (inView) drawFields();
  }).observe($("fields"));
}

/** All rows of the net's table, those too that the page has no weights of. */
const allLayers = () => [...net.layers, ...net.rest];

/** Draws all of it, in the present language and colours. */
export function drawArchitecture() {
  const layers = allLayers();
  $("architecture-text").textContent = t(net.towers > 1 ? "architectureTowers" : "architectureOne");
  $("architecture-scale").textContent = `${t("figureScale")} ${layers.some(isFlat) ? t("figureBars") : ""}`;
  drawFigure2($("architecture-figure"), net, layers, roomIn($("architecture")));
  $("table-text").textContent = `${t("tableText")} ${net.rest.length ? t("tableAbsent") : ""}`;
  drawTable(layers);
  followNet();
  drawFields();
}

function drawTable(layers) {
  const head = make("tr", {}, ...COLUMNS.map((name) => make("th", { scope: "col", ...(name === "Does" ? { class: "does" } : {}) }, t(`column${name}`))));
  const picture = rowOf(make("span", { class: "absent" }, t("rowImage")), ["", "", "", "", [net.crop, net.crop, net.channels].join("×"), "", "", ""]);
  const sums = COUNTS.map((key) => counted(layers.reduce((sum, layer) => sum + layer[key], 0)));
  $("layer-table").replaceChildren(
    make("thead", {}, head),
    make("tbody", {}, picture, ...layers.map(layerRow)),
    make("tfoot", {}, rowOf(make("span", { class: "absent" }, t("rowSum")), ["", "", "", "", "", ...sums])),
  );
}

function layerRow(layer, index) {
  const name = layerName(layer);
  const there = index < net.layers.length;
  const head = there ? make("button", { type: "button" }, name) : make("span", { class: "absent" }, name);
  if (there) {
    head.dataset.jumps = index;
    head.addEventListener("click", () => goTo(index));
  }
  const counts = COUNTS.map((key) => (layer[key] ? counted(layer[key]) : ""));
  const row = rowOf(head, [kindOf(layer), kernelOf(layer), layer.stride ?? "", padOf(layer), layer.output.join("×"), ...counts]);
  if (layer.parameters) row.className = "weighted";
  return row;
}

function rowOf(head, cells) {
  const [does, ...others] = cells.map((text) => make("td", {}, String(text)));
  does.className = "does";
  return make("tr", {}, make("th", { scope: "row" }, head), does, ...others);
}

/** Looks at a layer in the lesson on the trained net, once that has its values. */
function goTo(index) {
  const layer = net.layers[index];
  const summed = layer.kind === "dense" && layer.reads === "sum";
  if (netPage.values) netPage.look(index, summed ? -1 : Math.max(0, netPage.tower));
}

const kindOf = (layer) => t(`kind_${layer.how || layer.kind}`);

function kernelOf(layer) {
  if (layer.kind === "dense") return t("rowInputs", { n: counted(layer.inputs) });
  if (layer.kernel) return [layer.kernel, layer.kernel, layer.inputs].join("×");
  return layer.kind === "pool" || layer.kind === "sameMapLrn" ? [layer.size, layer.size].join("×") : "";
}

/** Zeros before and after, one number where they are the same. */
function padOf({ pad }) {
  if (!pad) return "";
  return pad[0] === pad[1] ? pad[0] : pad.join(" + ");
}

/** Draws what another image or another choice of layer changes. */
export function followNet() {
  for (const button of document.querySelectorAll("#layer-table [data-jumps]")) {
    button.setAttribute("aria-current", String(+button.dataset.jumps === netPage.layer));
  }
  if (inView || !$("fields-images").children.length) drawFields(); // else when one comes to it
}

function drawFields() {
  const seeing = net.layers.filter((layer) => layer.kind === "conv" || layer.kind === "local");
  $("fields").hidden = !seeing.length;
  if (!netPage.values || !seeing.length) return;
  const images = $("fields-images");
  if (images.children.length !== seeing.length) {
    images.replaceChildren(...seeing.map(() => make("figure", {}, make("canvas", { role: "img" }), make("figcaption"))));
  }
  const side = Math.min(250, roomIn(images.firstChild));
  const picture = pictureImage(netPage.cut, net.crop, net.channels);
  seeing.forEach((layer, number) => drawField(images.children[number], layer, side, picture));
}

function drawField(figure, layer, side, picture) {
  const [canvas, caption] = figure.children;
  const [height, width] = layer.output;
  const { top, left, bottom, right } = receptiveField(net, net.layers.indexOf(layer), (height - 1) >> 1, (width - 1) >> 1);
  const [rows, columns] = [bottom - top + 1, right - left + 1];
  const unit = side / net.crop;
  const box = [left * unit, top * unit, columns * unit, rows * unit];
  const context = sized(canvas, side, side);
  context.drawImage(picture, 0, 0, side, side);
  context.fillStyle = "rgb(0 0 0 / 65%)";
  context.beginPath();
  context.rect(0, 0, side, side);
  context.rect(...box);
  context.fill("evenodd");
  outline(context, ...box);
  caption.textContent = t("fieldSays", { name: layer.name, rows, columns, share: percent((rows * columns) / net.crop ** 2) });
  canvas.setAttribute("aria-label", caption.textContent);
}
