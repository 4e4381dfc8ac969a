// All kernels of the first layer: a kernel, its feature map and a position in the image, linked.
import { Cells } from "./cells.js";
import { $, make, roomIn, show } from "./dom.js";
import { largest, outline, paint, pictureImage, sized } from "./draw.js";
import { mapImage } from "./net-figure.js";
import { netPage } from "./net-page.js";
import { t } from "./strings.js";
import { receptiveField } from "./why.js";

const ACROSS = 16; // kernels in a row, as in the paper, where there is room

let chosen, moved, map;
let inView = false;
const at = { channel: 0, row: 0, column: 0 }; // what is shown; as the lesson's own while it looks at conv1

/** `choose(channel, row, column)` looks at a channel of the first layer; `move(row, column)` elsewhere in it. */
export function startGallery(choose, move) {
  const [first] = netPage.net.layers;
  $("gallery").hidden = first.kind !== "conv" || ![1, 3].includes(netPage.net.channels);
  if ($("gallery").hidden) return;
  [chosen, moved] = [choose, move];
  map = new Cells($("gallery-map"), {
    moved: (row, column) => {
      Object.assign(at, { row, column });
      if (netPage.layer === 0) moved(row, column);
      else drawGallery();
    },
  });
  $("gallery-kernels").addEventListener("keydown", goByKey);
  new IntersectionObserver(([entry]) => {
    inView = entry.isIntersecting;
    drawGallery();
  }, { rootMargin: "100%" }).observe($("gallery"));
}

/** Arrow keys go from kernel to kernel; of them all one alone is reached by the tabulator. */
function goByKey(event) {
  const buttons = [...$("gallery-kernels").querySelectorAll("button")];
  const now = buttons.indexOf(event.target);
  const inRow = buttons.filter((each) => each.offsetTop === buttons[now]?.offsetTop).length;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -inRow, ArrowDown: inRow }[event.key];
  if (now < 0 || !step) return;
  event.preventDefault();
  const next = buttons[now + step];
  if (next) next.focus();
}

/** A kernel as an image: its largest size becomes black or white, 0 middle grey. */
function drawKernel(canvas, channel) {
  const { shape, values } = netPage.model.arrays[`${netPage.net.layers[0].name}/kernel`];
  const [, height, width, colours, made] = shape;
  const start = Math.floor(channel / made) * height * width * colours * made + (channel % made);
  const weights = Float32Array.from({ length: height * width * colours }, (_, i) => values[start + i * made]);
  const most = largest(weights);
  const data = new ImageData(width, height);
  for (let i = 0; i < height * width; i++) {
    for (let c = 0; c < 3; c++) data.data[4 * i + c] = Math.round(255 * (0.5 + weights[i * colours + (c % colours)] / (2 * most)));
    data.data[4 * i + 3] = 255;
  }
  Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(data, 0, 0);
}

function build() {
  const [first] = netPage.net.layers;
  const towers = first.output[2] / netPage.model.arrays[`${first.name}/kernel`].shape[4];
  const share = first.output[2] / towers;
  const across = Math.ceil(share / Math.ceil(share / ACROSS));
  const groups = Array.from({ length: towers }, (_, tower) => {
    const buttons = Array.from({ length: share }, (_, i) => {
      const canvas = make("canvas", { "aria-hidden": "true" });
      const channel = tower * share + i;
      drawKernel(canvas, channel);
      const button = make("button", { type: "button", "data-channel": String(channel) }, canvas, make("span", {}));
      button.addEventListener("click", () => chosen(channel, ...strongest(channel)));
      return button;
    });
    const group = make("div", { class: "kernels", role: "group" }, ...buttons);
    group.style.setProperty("--across", across);
    return make("div", { "data-tower": String(tower) }, make("h4", {}), group);
  });
  $("gallery-kernels").replaceChildren(...groups);
}

/** Where a channel of the first layer is largest on this image: [row, column]. */
function strongest(channel) {
  const [{ name, output: [rows, columns, channels] }] = netPage.net.layers;
  const values = netPage.values[name];
  let best = 0;
  for (let i = 1; i < rows * columns; i++) {
    if (values[i * channels + channel] > values[best * channels + channel]) best = i;
  }
  return [Math.floor(best / columns), best % columns];
}

/** What the lesson looks at, where that is the first layer or works on its channels. */
function follow() {
  const { layers } = netPage.net;
  const [first] = layers;
  const later = layers.findIndex(({ kind }, index) => index && ["conv", "local", "dense"].includes(kind));
  if (later >= 0 && netPage.layer >= later) return;
  at.channel = netPage.map;
  if (layers[netPage.layer].output[0] === first.output[0]) Object.assign(at, { row: netPage.row, column: netPage.column });
}

/** Draws all of it, where one sees it, in the present language and colours. */
export function drawGallery() {
  if ($("gallery").hidden || !inView || !netPage.values || !netPage.model) return;
  if (!$("gallery-kernels").children.length) {
    build();
    [at.row, at.column] = strongest(at.channel);
  }
  follow();
  const [first] = netPage.net.layers;
  const [rows, columns, channels] = first.output;
  const values = netPage.values[first.name].subarray((at.row * columns + at.column) * channels).slice(0, channels);
  $("gallery-text").textContent = t("galleryText", { layer: first.name, k: first.kernel });
  markKernels(values);
  drawKernel($("gallery-kernel"), at.channel);
  $("gallery-kernel").setAttribute("aria-label", t("kernelOfChannel", { n: at.channel }));
  $("gallery-kernel-name").textContent = t("kernelOfChannel", { n: at.channel });
  const side = Math.max(2, Math.floor(Math.min(220, roomIn($("gallery-map").parentElement)) / columns));
  map.cell = [at.row, at.column];
  map.draw(rows, columns, side, (context) => {
    context.drawImage(mapImage(first, netPage.values[first.name], at.channel), 0, 0, columns * side, rows * side);
  });
  drawSeen(Math.min(220, roomIn($("gallery-sees").parentElement)));
  const value = values[at.channel];
  const rank = 1 + values.reduce((above, each) => above + Number(each > value), 0);
  $("gallery-words").textContent = t("galleryWords", { n: at.channel, row: at.row, column: at.column, value: show(value), rank, of: channels });
}

function markKernels(values) {
  const most = largest(values);
  const groups = $("gallery-kernels").children;
  const share = values.length / groups.length;
  [...groups].forEach((group, tower) => {
    const [title, kernels] = group.children;
    title.hidden = groups.length === 1;
    title.textContent = t("galleryTower", { n: tower, first: tower * share, last: (tower + 1) * share - 1 });
    kernels.setAttribute("aria-label", groups.length === 1 ? t("galleryKernels") : title.textContent);
    for (const button of kernels.children) {
      const channel = +button.dataset.channel;
      const here = channel === at.channel;
      button.setAttribute("aria-pressed", String(here));
      button.tabIndex = here ? 0 : -1;
      button.setAttribute("aria-label", t(groups.length === 1 ? "kernelOfChannel" : "kernelOfTower", { n: channel, tower }));
      paint(button.lastChild, values[channel] / most);
    }
  });
}

function drawSeen(room) {
  const { net, cut } = netPage;
  const unit = room / net.crop;
  const context = sized($("gallery-sees"), room, room);
  context.drawImage(pictureImage(cut, net.crop, net.channels), 0, 0, room, room);
  const { top, left, bottom, right } = receptiveField(net, 0, at.row, at.column);
  outline(context, left * unit, top * unit, (right - left + 1) * unit, (bottom - top + 1) * unit);
}
