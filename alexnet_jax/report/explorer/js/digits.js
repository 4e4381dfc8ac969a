// Handwritten digits: 8 x 8 pixels of 17 grey levels, enlarged to 28 x 28, and what a person draws made the same.

const SIDE = 8;
const BITMAP = 32; // cells of the bitmap whose blocks of 4 x 4 are counted
const INK = 2.4; // half the width of a line in it
const SHOWN = 20; // pixels of the digit in the image of 28 x 28, as in MNIST
export const IMAGE = 28;

/** The examples of the page: `levels`, a letter from 'a' (0) to 'q' (16) for each pixel, and their labels. */
export function unpack({ levels, labels }) {
  return Array.from(labels, (label, n) => {
    const pixels = Array.from(levels.slice(n * SIDE * SIDE, (n + 1) * SIDE * SIDE), (letter) => letter.charCodeAt(0) - 97);
    return { x: enlarge(pixels), target: +label };
  });
}

/** 8 x 8 levels as 28 x 28 numbers from 0 to 1: bilinear, its ink's centre in the middle. */
export function enlarge(levels) {
  const digit = new Float64Array(SHOWN * SHOWN);
  const place = (i) => Math.min(Math.max(((i + 0.5) * SIDE) / SHOWN - 0.5, 0), SIDE - 1);
  let [ink, down, across] = [0, 0, 0];
  for (let r = 0; r < SHOWN; r++) {
    for (let c = 0; c < SHOWN; c++) {
      const [y, x] = [place(r), place(c)];
      const [top, left] = [Math.min(Math.floor(y), SIDE - 2), Math.min(Math.floor(x), SIDE - 2)];
      const row = (i) => levels[i * SIDE + left] * (left + 1 - x) + levels[i * SIDE + left + 1] * (x - left);
      const value = (row(top) * (top + 1 - y) + row(top + 1) * (y - top)) / 16;
      digit[r * SHOWN + c] = value;
      ink += value;
      down += r * value;
      across += c * value;
    }
  }
  const edge = (sum) => Math.min(Math.max(Math.round((IMAGE - 1) / 2 - sum / Math.max(ink, 1e-9)), 0), IMAGE - SHOWN);
  const [top, left] = [edge(down), edge(across)];
  const result = new Float64Array(IMAGE * IMAGE);
  digit.forEach((value, i) => (result[(top + Math.floor(i / SHOWN)) * IMAGE + left + (i % SHOWN)] = value));
  return result;
}

/** Lines that a person drew, [[{x, y}, ...], ...], as 8 x 8 levels; null where there are none.
 *
 * As the examples were made: scaled to fill a bitmap of 32 x 32 cells, whose blocks of 4 x 4 are counted.
 */
export function levelsOf(strokes) {
  const points = strokes.flat();
  if (!points.length) return null;
  const [xs, ys] = [points.map((p) => p.x), points.map((p) => p.y)];
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const scale = (BITMAP - 2 * INK) / Math.max(right - left, bottom - top, 1e-9);
  const middle = BITMAP / 2;
  const put = ({ x, y }) => ({ x: middle + (x - (left + right) / 2) * scale, y: middle + (y - (top + bottom) / 2) * scale });
  const levels = new Array(SIDE * SIDE).fill(0);
  const inked = new Uint8Array(BITMAP * BITMAP);
  for (const stroke of strokes) {
    const line = stroke.map(put);
    line.forEach((to, i) => inkLine(inked, line[Math.max(i - 1, 0)], to));
  }
  inked.forEach((on, i) => (levels[(i >> 7) * SIDE + ((i % BITMAP) >> 2)] += on));
  return levels;
}

function inkLine(inked, from, to) {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const length = dx * dx + dy * dy;
  const bound = (a, b, sign) => Math.min(Math.max(Math.floor((sign < 0 ? Math.min(a, b) : Math.max(a, b)) + sign * INK), 0), BITMAP - 1);
  for (let r = bound(from.y, to.y, -1); r <= bound(from.y, to.y, 1); r++) {
    for (let c = bound(from.x, to.x, -1); c <= bound(from.x, to.x, 1); c++) {
      const [x, y] = [c + 0.5 - from.x, r + 0.5 - from.y];
      const along = length ? Math.min(Math.max((x * dx + y * dy) / length, 0), 1) : 0;
      if (Math.hypot(x - along * dx, y - along * dy) <= INK) inked[r * BITMAP + c] = 1;
    }
  }
}
