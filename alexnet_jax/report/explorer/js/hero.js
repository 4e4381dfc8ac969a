// The page's opening: the photograph, the channels of the first convolution over it, and the answer.
import { $, percent } from "./dom.js";
import { cssColour, outline, pictureImage, sized } from "./draw.js";
import { play, whenStill } from "./motion.js";
import { mapsImage } from "./net-figure.js";
import { best, isFlat, nameOf, netPage } from "./net-page.js";
import { t } from "./strings.js";

const SLIDE = 4500; // milliseconds of a kernel's way over the image; WCAG asks for a pause button from 5 seconds on
const MOST = 32; // channels shown
let drawn = null; // the image that is in the opening
let finish = () => {};

whenStill(() => finish());

/** Draws the opening; for another image, if one sees it, the kernels slide over it once. */
export function drawHero() {
  finish();
  $("hero").hidden = false;
  const layer = netPage.net.layers[0];
  const says = { layer: layer.name, n: layer.output[layer.output.length - 1], crop: netPage.net.crop };
  $("hero-words").textContent = t(isFlat(layer) ? "heroFlat" : "heroWords", says);
  const named = netPage.net.hasClasses ? best(netPage.values.prob, 1)[0] : -1;
  $("hero-answer").textContent = named < 0 ? "" : nameOf(named);
  $("hero-share").textContent = named < 0 ? "" : percent(netPage.values.prob[named]);
  const other = drawn !== netPage.cut;
  drawn = netPage.cut;
  const { top, bottom } = $("hero").getBoundingClientRect();
  if (isFlat(layer)) drawPhotograph(null);
  else if (other && bottom > 0 && top < innerHeight) finish = play(SLIDE, slide(layer));
  else slide(layer)(1);
}

function drawPhotograph(frame) {
  const { cut, net } = netPage;
  const side = $("hero-image").parentElement.clientHeight || 200;
  const context = sized($("hero-image"), side, side);
  context.drawImage(pictureImage(cut, net.crop, net.channels), 0, 0, side, side);
  if (frame) outline(context, ...frame.map((x) => (x * side) / net.crop));
}

/** A function that draws what `share` of the positions has given. */
function slide(layer) {
  const [rows, columns, count] = layer.output;
  const shown = Math.min(count, MOST);
  const channels = Array.from({ length: shown }, (_, i) => Math.floor((i * count) / shown));
  const side = $("hero-image").parentElement.clientHeight || 200;
  const room = Math.max(side, $("hero-maps").parentElement.clientWidth || side);
  const down = [4, 3, 2, 1].find((n) => Math.ceil(shown / n) * (side / n) >= Math.min(room, shown * side)) || 4;
  const tile = Math.floor(side / down);
  const across = Math.max(1, Math.min(Math.ceil(shown / down), Math.floor(room / tile)));
  const whole = document.createElement("canvas");
  Object.assign(whole, { width: across * tile, height: down * tile });
  whole.getContext("2d").drawImage(mapsImage(layer, netPage.values[layer.name], channels.slice(0, across * down), across, tile), 0, 0);
  let before = -1;
  return (share) => {
    const position = Math.min(rows * columns, Math.floor(share * rows * columns));
    if (position === before) return;
    before = position;
    const [row, column] = [Math.floor(position / columns), position % columns];
    const context = sized($("hero-maps"), across * tile, down * tile);
    context.drawImage(whole, 0, 0);
    context.fillStyle = cssColour("ground");
    const [y, x] = [(row * (tile - 1)) / rows, (column * (tile - 1)) / columns];
    const high = (tile - 1) / rows;
    for (let i = 0; i < across * down && position < rows * columns; i++) {
      const [left, top] = [(i % across) * tile, Math.floor(i / across) * tile];
      context.fillRect(left + x, top + y, tile - x, high);
      context.fillRect(left, top + y + high, tile, tile - y - high);
    }
    const { stride, kernel, pad } = layer;
    drawPhotograph(position < rows * columns ? [column * stride - pad[0], row * stride - pad[0], kernel, kernel] : null);
  };
}
