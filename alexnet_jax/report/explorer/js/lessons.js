// The small lessons: one neuron, one kernel, one step of learning. All numbers are computed here and now.
import { $, make, makeSvg, numberTable, show, slider, term } from "./dom.js";
import { image, inkColour, paint, paintGrey, pictureImage } from "./draw.js";
import { Cells } from "./cells.js";
import { gradient, smallestNet, step, think } from "./learn.js";
import { t } from "./strings.js";

// 1. One neuron: go where there is more green than red.

const neuron = { green: 0.9, red: 0.2, greenWeight: 1, redWeight: -1, bias: -0.5 };

export function startNeuron() {
  const ranges = { green: [0, 1], red: [0, 1], greenWeight: [-2, 2], redWeight: [-2, 2], bias: [-2, 2] };
  for (const [name, [from, to]] of Object.entries(ranges)) {
    const changed = (value) => {
      neuron[name] = value;
      drawNeuron();
    };
    $("neuron-sliders").append(slider(`neuron_${name}`, from, to, 0.05, neuron[name], changed));
  }
}

export function drawNeuron() {
  const { green, red, greenWeight, redWeight, bias } = neuron;
  const sum = Math.round((greenWeight * green + redWeight * red + bias) * 1e9) / 1e9;
  const fires = sum > 0;
  const drawing = $("neuron-drawing");
  drawing.replaceChildren();
  const input = (y, value, weight, key) => {
    const line = { x1: 70, y1: y, x2: 190, y2: 95, class: weight < 0 ? "below" : "above" };
    drawing.append(makeSvg("line", { ...line, "stroke-width": 1 + 5 * Math.abs(weight) }));
    drawing.append(makeSvg("circle", { cx: 45, cy: y, r: 30, class: "cell" }));
    drawing.append(makeSvg("circle", { cx: 45, cy: y, r: 28 * Math.sqrt(value), class: `lamp ${key}` }));
    drawing.append(makeSvg("text", { x: 45, y: y + 46, "text-anchor": "middle" }, `${t(key)} ${show(value)}`));
    drawing.append(makeSvg("text", { x: 128, y: (y + 95) / 2 - 12, "text-anchor": "middle" }, `× ${show(weight)}`));
  };
  input(38, green, greenWeight, "green");
  input(138, red, redWeight, "red");
  drawing.append(makeSvg("circle", { cx: 215, cy: 95, r: 32, class: fires ? "cell fires" : "cell" }));
  drawing.append(makeSvg("text", { x: 215, y: 101, "text-anchor": "middle", class: "big" }, show(sum)));
  drawing.append(makeSvg("text", { x: 290, y: 101, "text-anchor": "middle", class: "big" }, t(fires ? "go" : "stop")));
  const terms = `${term(greenWeight)} × ${show(green)} + ${term(redWeight)} × ${show(red)} + ${term(bias)}`;
  $("neuron-sum").textContent = `${terms} = ${show(sum)} ${fires ? "> 0" : "≤ 0"}`;
  const words = t(fires ? "neuronGo" : "neuronStop", { sum: show(sum), relu: show(Math.max(0, sum)) });
  $("neuron-words").textContent = words;
  drawing.setAttribute("aria-label", words);
}

// 2. One kernel over a small picture.

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
  smallPicture = new Cells($("kernel-picture"), {
    hover: false,
    moved: () => drawKernel(),
    pressed: (row, column) => {
      const at = row * SIDE + column;
      small.pixels[at] = small.pixels[at] >= 1 ? 0 : small.pixels[at] >= 0.5 ? 1 : 0.5;
      $("kernel-shape").value = "shapeOwn";
      drawKernel();
    },
  });
  smallMap = new Cells($("kernel-map"), { moved: () => drawKernel() });
  smallMap.cell = [3, 1];
  smallMap.rows = smallMap.columns = SIDE - 2;
  small.kernel = [...PRESETS.presetVertical];
  preset();
  shape();
}

export function drawKernel() {
  if (!small.pixels.length) return;
  const { pixels, kernel, bias, relu } = small;
  const out = SIDE - 2;
  const patchAt = (row, column) =>
    Array.from({ length: 9 }, (_, i) => pixels[(row + ((i / 3) | 0)) * SIDE + column + (i % 3)]);
  const sumAt = (row, column) => patchAt(row, column).reduce((sum, x, i) => sum + x * kernel[i], 0) + bias;
  const sums = Array.from({ length: out * out }, (_, i) => sumAt((i / out) | 0, i % out));
  const map = sums.map((x) => (relu ? Math.max(0, x) : x));
  const [row, column] = smallMap.cell;
  const side = Math.min(30, Math.floor((Math.min(innerWidth, 480) - 70) / SIDE));
  const grid = (context, values, columns, scale, cell) => {
    context.drawImage(image(values.length / columns, columns, (r, c) => values[r * columns + c] / scale), 0, 0, columns * cell, (values.length / columns) * cell);
  };
  const focused = document.activeElement === $("kernel-picture");
  const boxes = [[row, column, 3, 3]];
  if (focused) boxes.push([...smallPicture.cell, 1, 1]);
  const grey = Uint8Array.from(pixels, (x) => 255 * x);
  smallPicture.draw(SIDE, SIDE, side, (context, cell) => {
    context.drawImage(pictureImage(grey, SIDE, 1), 0, 0, SIDE * cell, SIDE * cell);
  }, boxes);
  const most = Math.max(1e-9, ...map.map(Math.abs));
  smallMap.draw(out, out, side, (context, cell) => {
    grid(context, map, out, most, cell);
    if (cell < 26) return;
    context.font = "11px system-ui";
    context.textAlign = "center";
    context.textBaseline = "middle";
    map.forEach((value, i) => {
      context.fillStyle = Math.abs(value) / most > 0.45 ? "#000" : inkColour();
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
    numberTable(products, 3, paint, { caption: t("products") }),
  );
  $("kernel-sum").textContent =
    `${products.map(term).join(" + ")} = ${show(tidy(sum))};  ${show(tidy(sum))} + ${term(bias)} = ${show(tidy(total))}` +
    (relu ? `;  max(0, ${show(tidy(total))}) = ${show(tidy(value))}` : "");
  $("kernel-size").textContent = t("sizes", { n: SIDE, k: 3, m: out });
  const place = { row: row + 1, column: column + 1, bottom: row + 3, right: column + 3 };
  $("kernel-words").textContent = t("kernelWords", { ...place, value: show(tidy(value)) });
  $("kernel-map").setAttribute("aria-label", t("featureMap"));
  $("kernel-picture").setAttribute("aria-label", t("smallPicture"));
}

const tidy = (x) => Math.round(x * 1e9) / 1e9;
const shortNumber = (x) => String(Math.round(x * 10) / 10).replace("-", "\u2212");

// 4. One step of learning.

const BAR = [0, 1, 0, 0, 1, 0, 0, 1, 0];
export const learning = { net: smallestNet(), pixels: [...BAR], target: 1, rate: 0.2, steps: 0, last: null };

export function startLearning() {
  for (let i = 0; i < 9; i++) {
    const button = make("button", { type: "button" });
    button.addEventListener("click", () => {
      learning.pixels[i] = 1 - learning.pixels[i];
      learning.last = null;
      drawLearning();
    });
    $("learn-picture").append(button);
  }
  $("learn-target").addEventListener("change", () => {
    learning.target = +$("learn-target").value;
    learning.last = null;
    drawLearning();
  });
  $("learn-rate").addEventListener("input", () => {
    learning.rate = +$("learn-rate").value;
    drawLearning();
  });
  $("learn-step").addEventListener("click", () => {
    const slope = gradient(learning.net, learning.pixels, learning.target);
    const net = step(learning.net, slope, learning.rate);
    learning.last = { net: learning.net, slope, rate: learning.rate };
    learning.net = net;
    learning.steps += 1;
    drawLearning();
  });
  $("learn-reset").addEventListener("click", () => {
    Object.assign(learning, { net: smallestNet(), steps: 0, last: null });
    drawLearning();
  });
}

export function drawLearning() {
  const { net, pixels, target, rate, steps, last } = learning;
  $("learn-rate-value").textContent = show(rate);
  [...$("learn-picture").children].forEach((button, i) => {
    paintGrey(button, pixels[i]);
    button.textContent = pixels[i];
    button.setAttribute("aria-pressed", String(Boolean(pixels[i])));
    button.setAttribute("aria-label", t("pixel", { n: i + 1, value: pixels[i] }));
  });
  const { units, outputs } = think(net, pixels);
  const before = last && think(last.net, pixels);
  $("learn-bars").replaceChildren(
    ...outputs.map((p, o) => {
      const was = before ? `${show(before.outputs[o])} → ` : "";
      const text = t("outputIs", { digit: o, was, p: show(p), target: o === target ? 1 : 0 });
      return bar(text, p);
    }),
  );
  $("learn-count").textContent = t("steps", { n: steps, loss: show(-Math.log(outputs[target])) });
  const wrong = 1 - target;
  const slope = gradient(net, pixels, target);
  const say = { digit: wrong, p: show(outputs[wrong]), unit: show(units[1]), rate: show(rate) };
  const from = last && think(last.net, pixels);
  $("learn-words").textContent = last
    ? t("learnAfter", {
        digit: wrong,
        before: show(from.outputs[wrong]),
        after: show(outputs[wrong]),
        rate: show(last.rate),
        error: show(from.outputs[wrong]),
        unit: show(from.units[1]),
        slope: show(last.slope.output[wrong][1]),
        move: show(-last.rate * last.slope.output[wrong][1]),
        weight: show(last.net.output[wrong][1]),
        now: show(net.output[wrong][1]),
      })
    : t("learnBefore", { ...say, slope: show(slope.output[wrong][1]) });
  const shown = last ? last.net : net;
  const slopes = last ? last.slope : slope;
  const used = last ? last.rate : rate;
  const state = think(shown, pixels);
  const rows = [];
  const add = (name, weight, incoming, slopeHere) => {
    const move = -used * slopeHere;
    const change = make("td", {}, show(move));
    paint(change, Math.max(-1, Math.min(1, move * 6)));
    rows.push(
      make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, incoming), make("td", {}, show(weight)),
        make("td", {}, show(slopeHere)), change, make("td", {}, show(weight + move))),
    );
  };
  shown.output.forEach((row, o) => {
    row.forEach((w, u) => add(t("weightTo", { from: t("unit", { n: u + 1 }), to: o }), w, show(state.units[u]), slopes.output[o][u]));
    add(t("biasOf", { name: o }), shown.outputBias[o], "1", slopes.outputBias[o]);
  });
  shown.hidden.forEach((row, u) => {
    row.forEach((w, i) => add(t("weightTo", { from: t("pixelName", { n: i + 1 }), to: t("unit", { n: u + 1 }) }), w, show(pixels[i]), slopes.hidden[u][i]));
    add(t("biasOf", { name: t("unit", { n: u + 1 }) }), shown.hiddenBias[u], "1", slopes.hiddenBias[u]);
  });
  const head = ["weightWord", "incoming", last ? "wasWord" : "isWord", "slopeWord", "changeWord", last ? "nowWord" : "wouldBe"];
  const kernels = shown.hidden.map((row, u) => {
    const caption = t("unitIs", { n: u + 1, value: show(state.units[u]) });
    return numberTable(row, 3, paint, { most: 0.6, caption });
  });
  const table = make("table", { class: "moves" },
    make("thead", {}, make("tr", {}, ...head.map((key) => make("th", { scope: "col" }, t(key))))),
    make("tbody", {}, ...rows));
  $("learn-weights").replaceChildren(make("div", { class: "working" }, ...kernels), make("div", { class: "scroll" }, table));
}

/** A row of a bar chart: its words, and a bar of `share` of the width. */
export function bar(text, share, below = false) {
  const inside = make("span", { class: below ? "fill below" : "fill" });
  inside.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  return make("li", {}, make("span", { class: "name" }, text), make("span", { class: "track" }, inside));
}
