// What a channel looks for: its strongest patches among the run's images, and their projections.
import { $, make, show } from "./dom.js";
import { cssColour, outline, sized } from "./draw.js";
import { netPage } from "./net-page.js";
import { STRINGS } from "./seeks-strings.js";
import { addStrings, t } from "./strings.js";

addStrings(STRINGS);

const LARGEST = 132; // pixels a side, in the page

let sought; // as `report/explorer/sheets.py` packs it; null where the run's images were not at hand
let open; // shows an image at a position
let opened = {}; // the image that was chosen here last: {number, pixels}

/** Takes the page's patches; `opens(pixels, {layer, channel, row, column})` where one chooses a patch. */
export function startSeeks(patches, opens) {
  sought = patches;
  open = opens;
  $("to-seeks").addEventListener("click", () => $("seeks").scrollIntoView());
  netPage.sought = { drawn: 0 };
}

/** The convolution whose channels those of the present layer are. */
function convolution() {
  const { layers } = netPage.net;
  if (layers[netPage.layer].output.length !== 3) return undefined;
  for (let index = netPage.layer; index >= 0; index--) {
    if (layers[index].kind === "conv") return layers[index];
    if (["dense", "local"].includes(layers[index].kind)) return undefined;
  }
  return undefined;
}

/** A channel's patches: [{value, number, row, column, top, left, bottom, right, tile}], the strongest first. */
function patchesOf({ count, numbers }, channel) {
  return numbers.slice(channel * count, (channel + 1) * count).map((each, rank) => {
    const [value, number, row, column, top, left, bottom, right] = each;
    return { value, number, row, column, top, left, bottom, right, tile: channel * count + rank };
  });
}

/** Draws the patches of the channel looked at, as soon as their sheets are decoded. */
export function drawSeeks() {
  const layer = convolution();
  $("seeks").hidden = $("to-seeks").hidden = !layer;
  if (!layer) return;
  const channel = netPage.map;
  const found = sought && sought.layers[layer.name];
  $("seeks-title").textContent = t("seeksTitle", { n: channel, layer: layer.name });
  $("seeks-patches").hidden = !found;
  if (!found) {
    $("seeks-about").textContent = t("seeksMissing");
    return;
  }
  const patches = patchesOf(found, channel);
  $("seeks-about").textContent = about(layer, patches);
  const needed = [...Object.values(found.sheets), ...(sought.images ? [sought.images] : [])];
  Promise.all(needed.map(decoded)).then(() => {
    if (convolution() === layer && netPage.map === channel) drawPatches(layer, found, patches);
  });
}

function about(layer, patches) {
  const says = { count: patches.length, images: sought.lookedAt.toLocaleString("en"), layer: layer.name };
  const parts = [t(sought.images ? "seeksAbout" : "seeksAboutPatches", says)];
  if (layer === netPage.net.layers[0]) parts.push(t("seeksFirst"));
  if (sought.images) parts.push(t("seeksClick"));
  if (layer !== netPage.net.layers[netPage.layer]) parts.push(t("seeksFrom", says));
  if (patches.every(({ value }) => value <= 0)) parts.push(t("seeksSilent"));
  return parts.join(" ");
}

/** Decodes a sheet the first time that it is asked for; resolves when it can be drawn. */
function decoded(sheet) {
  if (!sheet.ready) {
    sheet.image = new Image();
    sheet.image.src = sheet.uri;
    sheet.ready = sheet.image.decode();
  }
  return sheet.ready;
}

/** Where a tile of a sheet begins: [x, y]. */
const tileAt = ({ tile, across }, number) => [(number % across) * tile, Math.floor(number / across) * tile];

function drawPatches(layer, found, patches) {
  const list = $("seeks-patches");
  if (list.children.length !== patches.length) list.replaceChildren(...patches.map(emptyPatch));
  const room = Math.max(24, Math.min(LARGEST, Math.floor(list.firstChild.firstChild.clientWidth - 10)));
  patches.forEach((patch, rank) => {
    const [box] = list.children[rank].children;
    const [image, cut, projection, words] = box.children;
    if (sought.images) drawWhole(image, room, patch);
    drawPart(cut, room, found, patch, cutOf(found, patch));
    drawPart(projection, room, found, patch, { sheet: found.sheets.projections, ...inTile(found, found.sheets.projections, patch) });
    const says = { ...patch, rank: rank + 1, value: show(patch.value), name: `\u2068${sought.classes[patch.number]}\u2069` };
    words.textContent = `${says.value}\n${says.name}`;
    box.setAttribute("aria-label", t("seeksPatch", says));
    box.title = t("seeksPatch", says);
    if (!sought.images) return;
    const here = opened.pixels && opened.pixels === netPage.pixels && opened.number === patch.number;
    box.setAttribute("aria-pressed", String(Boolean(here)));
    box.onclick = () => choose(layer, patch);
  });
  netPage.sought.drawn += 1;
  netPage.sought.patches = patches;
}

/** A patch of the list: a button where its image is on the page. */
function emptyPatch() {
  const canvases = ["whole", "cut", "projection"].map((name) => make("canvas", { class: name, "aria-hidden": "true" }));
  canvases[0].hidden = !sought.images;
  const box = sought.images ? make("button", { type: "button" }) : make("div", { role: "img", class: "patch" });
  box.append(...canvases, make("span", { "aria-hidden": "true" }));
  return make("li", {}, box);
}

const edge = () => Math.floor((netPage.net.size - netPage.net.crop) / 2); // of the centre view, which counts

/** The view of the whole image that the net reads, and a frame around the patch. */
function drawWhole(canvas, room, { number, top, left, bottom, right }) {
  const { crop } = netPage.net;
  const [x, y] = tileAt(sought.images, number);
  const unit = room / crop;
  const context = sized(canvas, room, room);
  context.drawImage(sought.images.image, x + edge(), y + edge(), crop, crop, 0, 0, room, room);
  outline(context, left * unit, top * unit, (right - left) * unit, (bottom - top) * unit);
}

/** Where the page has a patch: {sheet, x, y, width, height}. */
function cutOf(found, patch) {
  if (!sought.images) return { sheet: found.sheets.patches, ...inTile(found, found.sheets.patches, patch) };
  const [x, y] = tileAt(sought.images, patch.number);
  const { top, left, bottom, right } = patch;
  return { sheet: sought.images, x: x + edge() + left, y: y + edge() + top, width: right - left, height: bottom - top };
}

function inTile({ side }, sheet, { top, left, bottom, right, tile }) {
  const [x, y] = tileAt(sheet, tile);
  const scaled = (length) => Math.max(1, Math.floor((length * sheet.tile) / side + 0.5));
  return { x, y, width: scaled(right - left), height: scaled(bottom - top) };
}

/** Draws a patch or its projection; all of a layer to one scale, so that one at an edge is smaller. */
function drawPart(canvas, room, { side }, { top, left, bottom, right }, { sheet, x, y, width, height }) {
  const [wide, high] = [((right - left) * room) / side, ((bottom - top) * room) / side];
  const context = sized(canvas, room, room);
  context.fillStyle = cssColour("ground");
  context.fillRect(0, 0, room, room);
  context.drawImage(sheet.image, x, y, width, height, (room - wide) / 2, (room - high) / 2, wide, high);
}

/** Runs the net on a patch's image and looks where the patch is. */
function choose(layer, { number, row, column }) {
  const { size, channels } = netPage.net;
  const [x, y] = tileAt(sought.images, number);
  const context = new OffscreenCanvas(size, size).getContext("2d", { willReadFrequently: true });
  context.drawImage(sought.images.image, x, y, size, size, 0, 0, size, size);
  const { data } = context.getImageData(0, 0, size, size);
  const pixels = new Uint8Array(size * size * channels);
  for (let i = 0; i < pixels.length; i++) pixels[i] = data[4 * Math.floor(i / channels) + (i % channels)];
  opened = { number, pixels };
  open(pixels, { layer: layer.name, channel: netPage.map, row, column });
}
