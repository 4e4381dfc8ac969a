// Lesson 2, one kernel over a small picture.
import { $, make, numberTable, roomIn, show, stepper, summands } from "./dom.js";
import { image, paint, paintGrey, pictureImage, textOnValue } from "./draw.js";
import { Cells } from "./cells.js";
import { drawPhotograph } from "./kernel-photograph.js";
import { STRINGS } from "./kernel-strings.js";
import { Journey, boxOfCells, moves, whenStill } from "./motion.js";
import { addStrings, t } from "./strings.js";

addStrings(STRINGS);

const SIDE = 9;
const SHAPES = {
  shapeSquare: (r, c) => (r > 1 && r < 7 && c > 1 && c < 7 ? 1 : 0),
  shapeRing: (r, c) => (Math.abs(Math.hypot(r - 4, c - 4) - 3) < 0.6 ? 1 : 0),
  shapeCross: (r, c) => (r === 4 || c === 4 ? 1 : 0),
  shapeSlope: (r, c) => Math.round((c / 8) * 100) / 100,
  shapeOne: (r, c) => (c === 4 && r > 0 && r < 8 ? 1 : (c === 3 && r === 2) || (r === 7 && c > 2 && c < 6) ? 1 : 0),
};
const PRESETS = {
  presetVertical: [-1, 0, 1, -2, 0, 2, -1, 0, 1],
  presetHorizontal: [-1, -2, -1, 0, 0, 0, 1, 2, 1],
  presetOutline: [-1, -1, -1, -1, 8, -1, -1, -1, -1],
  presetSharpen: [0, -1, 0, -1, 5, -1, 0, -1, 0],
  presetBlur: new Array(9).fill(1 / 9),
};
const small = { pixels: [], kernel: [], bias: 0, relu: true };
let smallPicture, smallMap;
let reached = Infinity; // while the kernel slides: the positions that it has been at
let journey; // of the values of one position

function fillOptions(select, keys, own) {
  select.replaceChildren(
    ...Object.keys(keys).map((key) => make("option", { value: key, "data-t": key }, t(key))),
    ...(own ? [make("option", { value: own, "data-t": own }, t(own))] : []),
  );
}

export function startKernel() {
  fillOptions($("kernel-shape"), SHAPES, "shapeOwn");
  fillOptions($("kernel-preset"), PRESETS, "presetOwn");
  const shape = () => {
    const value = SHAPES[$("kernel-shape").value];
    if (value) small.pixels = Array.from({ length: SIDE * SIDE }, (_, i) => value((i / SIDE) | 0, i % SIDE));
    drawKernel();
  };
  const inputs = Array.from({ length: 9 }, (_, i) => {
    const input = make("input", { type: "number", step: "0.1" });
    input.addEventListener("input", () => {
      small.kernel[i] = +input.value || 0;
      $("kernel-preset").value = "presetOwn";
      drawKernel();
    });
    return input;
  });
  $("kernel-numbers").append(...inputs);
  const preset = () => {
    const kernel = PRESETS[$("kernel-preset").value];
    if (!kernel) return inputs[0].focus();
    small.kernel = [...kernel];
    inputs.forEach((input, i) => (input.value = +kernel[i].toFixed(3)));
    return drawKernel();
  };
  $("kernel-shape").addEventListener("change", shape);
  $("kernel-preset").addEventListener("change", preset);
  $("kernel-bias").addEventListener("input", () => {
    small.bias = +$("kernel-bias").value || 0;
    drawKernel();
  });
  $("kernel-relu").addEventListener("change", () => {
    small.relu = $("kernel-relu").checked;
    drawKernel();
  });
  const pressed = (row, column) => {
    const at = row * SIDE + column;
    small.pixels[at] = small.pixels[at] >= 1 ? 0 : small.pixels[at] >= 0.5 ? 1 : 0.5;
    $("kernel-shape").value = "shapeOwn";
    drawKernel();
    $("kernel-painted").textContent = t("painted", { row, column, value: small.pixels[at] });
  };
  const moved = (row, column) => {
    drawKernel();
    $("kernel-painted").textContent = t("painted", { row, column, value: show(small.pixels[row * SIDE + column]) });
  };
  smallPicture = new Cells($("kernel-picture"), { hover: false, moved, pressed });
  $("kernel-picture").after(stepper(smallPicture, pressed));
  smallMap = new Cells($("kernel-map"), {
    moved: () => {
      reached = Infinity;
      drawKernel();
    },
  });
  $("kernel-map").after(stepper(smallMap));
  journey = new Journey();
  const pauseSlide = slide($("kernel-slide"));
  $("kernel-travel").addEventListener("click", () => {
    pauseSlide();
    travel();
  });
  smallMap.cell = [3, 1];
  smallMap.rows = smallMap.columns = SIDE - 2;
  small.kernel = [...PRESETS.presetVertical];
  preset();
  shape();
}

const SLIDE = 450; // milliseconds from position to position
const SIDE_BY_SIDE = SIDE - 2; // positions in a row

/** A button that moves the kernel over the image, position by position, until it is paused; the feature map
 * fills as it goes. Returns what pauses it.
 */
function slide(button) {
  let timer = 0;
  const says = () => {
    button.dataset.t = timer ? "pause" : "slide";
    button.textContent = t(button.dataset.t);
    button.setAttribute("aria-pressed", String(Boolean(timer)));
  };
  const pause = () => {
    clearInterval(timer);
    timer = 0;
    says();
  };
  const next = () => {
    reached += 1;
    if (reached >= SIDE_BY_SIDE ** 2) {
      reached = Infinity;
      pause();
    } else {
      smallMap.cell = [Math.floor(reached / SIDE_BY_SIDE), reached % SIDE_BY_SIDE];
      hand();
    }
    drawKernel();
  };
  button.addEventListener("click", () => {
    stopTravel();
    if (timer) return pause();
    if (reached === Infinity) reached = -1;
    timer = setInterval(next, SLIDE);
    next();
    return says();
  });
  whenStill(pause);
  return pause;
}

/** The present position's value goes from the image into the map. */
function hand() {
  if (!moves()) return;
  const [row, column] = smallMap.cell;
  const from = () => boxOfCells(smallPicture, row, column, 3, 3);
  journey.go([[{ from, to: () => boxOfCells(smallMap, row, column) }]], { travel: 0.7 * SLIDE });
}

function stopTravel() {
  journey.stop();
  const button = $("kernel-travel");
  button.dataset.t = "travel";
  button.textContent = t("travel");
  button.setAttribute("aria-pressed", "false");
  for (const cell of $("kernel-working").querySelectorAll(".pending")) cell.classList.remove("pending");
}

/** Nine values come from the image, are multiplied, added, and their sum goes into the map; pressed again, it ends. */
async function travel() {
  const wasOn = journey.on;
  stopTravel();
  if (wasOn) return;
  reached = Infinity;
  drawKernel();
  const button = $("kernel-travel");
  button.dataset.t = "travelStop";
  button.textContent = t("travelStop");
  button.setAttribute("aria-pressed", "true");
  const [row, column] = smallMap.cell;
  const [patch, kernel, products, sums, ends] = [...$("kernel-working").querySelectorAll("table")].map((table) => [...table.querySelectorAll("td")]);
  const sum = [sums[0]];
  const end = [ends ? ends[0] : sums[0]];
  for (const cell of [...patch, ...products, ...sum, ...end]) cell.classList.add("pending");
  const box = (element) => () => element.getBoundingClientRect();
  const like = (cell) => (chip) => Object.assign(chip.style, { backgroundColor: cell.style.backgroundColor, color: cell.style.color });
  const arrives = (cell) => () => cell.classList.remove("pending");
  const way = (from, to, cell) => ({ from, to: box(to), text: cell.textContent, colour: like(cell), arrives: arrives(to) });
  const stages = [
    patch.map((cell, i) => way(() => boxOfCells(smallPicture, row + Math.floor(i / 3), column + (i % 3)), cell, cell)),
    products.flatMap((cell, i) => [way(box(patch[i]), cell, patch[i]), way(box(kernel[i]), cell, kernel[i])]),
    products.map((cell) => way(box(cell), sum[0], cell)),
    ...(ends ? [[way(box(sum[0]), end[0], sum[0])]] : []),
    [{ ...way(box(end[0]), end[0], end[0]), to: () => boxOfCells(smallMap, row, column) }],
  ];
  if (await journey.go(stages)) stopTravel();
}

whenStill(() => journey && stopTravel());

export function drawKernel() {
  if (!small.pixels.length) return;
  if (reached === Infinity && journey.on) stopTravel(); // of another position
  const { pixels, kernel, bias, relu } = small;
  const out = SIDE - 2;
  const patchAt = (row, column) =>
    Array.from({ length: 9 }, (_, i) => pixels[(row + ((i / 3) | 0)) * SIDE + column + (i % 3)]);
  const sumAt = (row, column) => patchAt(row, column).reduce((sum, x, i) => sum + x * kernel[i], 0) + bias;
  const sums = Array.from({ length: out * out }, (_, i) => sumAt((i / out) | 0, i % out));
  const map = sums.map((x) => (relu ? Math.max(0, x) : x));
  const [row, column] = smallMap.cell;
  const side = Math.min(44, Math.floor(roomIn($("kernel-picture").parentElement) / SIDE));
  const grid = (context, values, columns, scale, cell) => {
    context.drawImage(image(values.length / columns, columns, (r, c) => values[r * columns + c] / scale), 0, 0, columns * cell, (values.length / columns) * cell);
  };
  const focused = $("kernel-picture").parentElement.contains(document.activeElement);
  const boxes = [[row, column, 3, 3]];
  if (focused) boxes.push([...smallPicture.cell, 1, 1]);
  const grey = Uint8Array.from(pixels, (x) => 255 * x);
  smallPicture.draw(SIDE, SIDE, side, (context, cell) => {
    context.drawImage(pictureImage(grey, SIDE, 1), 0, 0, SIDE * cell, SIDE * cell);
  }, boxes);
  const most = Math.max(1e-9, ...map.map(Math.abs));
  smallMap.draw(out, out, side, (context, cell) => {
    grid(context, map.map((value, i) => (i > reached ? 0 : value)), out, most, cell);
    if (cell < 17) return;
    context.font = "11px system-ui";
    context.textAlign = "center";
    context.textBaseline = "middle";
    map.slice(0, reached + 1).forEach((value, i) => {
      context.fillStyle = textOnValue(value / most);
      context.fillText(shortNumber(value), ((i % out) + 0.5) * cell, (((i / out) | 0) + 0.5) * cell);
    });
  });
  const patch = patchAt(row, column);
  const products = patch.map((x, i) => x * kernel[i]);
  const sum = products.reduce((a, b) => a + b, 0);
  const total = sum + bias;
  const value = relu ? Math.max(0, total) : total;
  const working = $("kernel-working");
  working.replaceChildren(
    numberTable(patch, 3, paintGrey, { most: 1, caption: t("patch") }), make("span", {}, "×"),
    numberTable(kernel, 3, paint, { caption: t("kernelWord") }), make("span", {}, "="),
    numberTable(products, 3, paint, { caption: t("products") }), make("span", {}, "Σ"),
    numberTable([tidy(total)], 1, paint, { most, caption: t(bias ? "sumAndBias" : "sumWord") }),
    ...(relu ? [make("span", {}, "→"), numberTable([tidy(value)], 1, paint, { most, caption: "ReLU" })] : []),
  );
  const first = summands(products, sum);
  const second = summands([sum, bias], total);
  $("kernel-sum").textContent =
    `${first.terms.join(" + ")} = ${first.total};  ${second.terms.join(" + ")} = ${second.total}` +
    (relu ? `;  max(0, ${second.total}) = ${total > 0 ? second.total : "0"}` : "");
  $("kernel-size").textContent = t("sizes", { n: SIDE, k: 3, m: out });
  const place = { row, column, bottom: row + 2, right: column + 2 };
  $("kernel-words").textContent = t("kernelWords", { ...place, value: show(tidy(value)) });
  [...$("kernel-numbers").children].forEach((input, i) => {
    input.setAttribute("aria-label", t("kernelCell", { row: Math.floor(i / 3), column: i % 3 }));
  });
  drawPhotograph(kernel, bias, relu);
  $("kernel-map").setAttribute("aria-label", t("featureMap"));
  $("kernel-picture").setAttribute("aria-label", t("smallPicture"));
}

const tidy = (x) => Math.round(x * 1e9) / 1e9;
const shortNumber = (x) => String(Math.round(x * 10) / 10).replace("-", "\u2212");
