// Numbers as colours: blue below 0, orange above, the page's own ground at 0. The two stay apart for every
// kind of colour vision.

let ground, below, above, ink, frame, soft;
const LEVELS = 255; // shades on either side of 0
const shades = new Uint32Array(2 * LEVELS + 1); // as the pixels of an ImageData, from below to above

function rgb(name) {
  const text = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  return [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16));
}

/** Takes the colours of the page's present theme. */
export function readColours() {
  [ground, below, above, ink, frame, soft] = ["--ground", "--below", "--above", "--ink", "--frame", "--soft"].map(rgb);
  const bytes = new Uint8ClampedArray(shades.buffer);
  shades.forEach((_, i) => bytes.set([...colour((i - LEVELS) / LEVELS), 255], 4 * i));
}

/** The colour of a value between -1 and 1: [red, green, blue]. */
function colour(value) {
  const size = Math.min(Math.abs(value), 1) ** 0.8;
  const end = value < 0 ? below : above;
  return ground.map((from, i) => Math.round(from + (end[i] - from) * size));
}

const css = ([r, g, b]) => `rgb(${r}, ${g}, ${b})`;
export const inkColour = () => css(ink);
/** One of the page's colours for a canvas, by name. */
export const cssColour = (name) => css({ above, below, soft, ink, ground }[name]);

/** Paints an element's background, and its text so that it can be read there. */
export function paint(element, value) {
  const [r, g, b] = colour(value);
  element.style.backgroundColor = css([r, g, b]);
  element.style.color = textOn([r, g, b]);
}

/** Black or white, whichever stands out more: at least 4.5 to 1 on any ground. */
export function textOn(colours) {
  const [r, g, b] = colours.map((c) => (c <= 10 ? c / 3294.6 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
}

/** What to write with on a cell of `value`. */
export const textOnValue = (value) => textOn(colour(value));

/** The same for a pixel of a grey picture, from 0 to 1. */
export function paintGrey(element, value) {
  const level = Math.round(255 * value);
  element.style.backgroundColor = css([level, level, level]);
  element.style.color = textOn([level, level, level]);
}

/** An image of rows x columns numbers, a pixel each; `at(row, column)` gives a value between -1 and 1. */
export function image(rows, columns, at) {
  const data = new ImageData(columns, rows);
  const pixels = new Uint32Array(data.data.buffer);
  for (let r = 0, i = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++, i++) {
      pixels[i] = shades[LEVELS + Math.round(Math.max(-1, Math.min(1, at(r, c))) * LEVELS)];
    }
  }
  return bitmap(data);
}

/** The largest size in one channel's map, at least a little above 0. */
export function largestOfChannel(values, channel, channels) {
  let most = 1e-12;
  for (let i = channel; i < values.length; i += channels) most = Math.max(most, Math.abs(values[i]));
  return most;
}

/** Channels of values (H, W, C) as square tiles of `tile` pixels, the last of which is between them.
 *
 * Each is coloured to its own largest value. This is the page's largest drawing: plain loops, no call a pixel.
 */
export function tilesImage(values, [height, width, all], channels, columns, tile) {
  const inside = tile - 1;
  const across = columns * tile;
  const data = new ImageData(across, Math.ceil(channels.length / columns) * tile);
  const pixels = new Uint32Array(data.data.buffer).fill(shades[LEVELS]);
  const rowsAt = Int32Array.from({ length: inside }, (_, y) => Math.floor((y * height) / inside) * width * all);
  const columnsAt = Int32Array.from({ length: inside }, (_, x) => Math.floor((x * width) / inside) * all);
  channels.forEach((channel, number) => {
    const scale = LEVELS / largestOfChannel(values, channel, all);
    const corner = (Math.floor(number / columns) * across + (number % columns)) * tile;
    for (let y = 0; y < inside; y++) {
      const row = rowsAt[y] + channel;
      let at = corner + y * across;
      for (let x = 0; x < inside; x++) pixels[at++] = shades[LEVELS + Math.round(values[row + columnsAt[x]] * scale)];
    }
  });
  return bitmap(data);
}

/** The picture as the net reads it, before its mean is taken off. */
export function pictureImage(pixels, side, channels) {
  const data = new ImageData(side, side);
  for (let i = 0; i < side * side; i++) {
    for (let c = 0; c < 3; c++) data.data[4 * i + c] = pixels[i * channels + (channels === 3 ? c : 0)];
    data.data[4 * i + 3] = 255;
  }
  return bitmap(data);
}

const scratch = document.createElement("canvas"); // to be drawn from before the next image is made

function bitmap(data) {
  scratch.width = data.width;
  scratch.height = data.height;
  scratch.getContext("2d", { willReadFrequently: true }).putImageData(data, 0, 0);
  return scratch;
}

/** Sets a canvas' size in CSS pixels; returns a context in CSS pixels, cleared, without smoothing. */
export function sized(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide;
    canvas.height = high;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.setLineDash([]);
  context.clearRect(0, 0, width, height);
  context.imageSmoothingEnabled = false;
  return context;
}

/** A frame that shows on any ground: dark with a light line inside. */
export function outline(context, x, y, width, height) {
  context.strokeStyle = css(frame);
  context.lineWidth = 4;
  context.strokeRect(x, y, width, height);
  context.strokeStyle = css(ground);
  context.lineWidth = 1.5;
  context.strokeRect(x, y, width, height);
}

/** The largest size among numbers, at least a little above 0. */
export function largest(values) {
  let most = 1e-12;
  for (const value of values) most = Math.max(most, Math.abs(value));
  return most;
}
