// Lesson 1, one neuron: go where there is more green than red and yellow.
import { $, makeSvg, show, slider, summands, term } from "./dom.js";
import { STRINGS } from "./neuron-strings.js";
import { addStrings, t } from "./strings.js";

addStrings(STRINGS);

const LIGHTS = { green: 34, yellow: 112, red: 190 }; // by name: where its circle stands
const neuron = {
  green: 0.9, yellow: 0, red: 0.2, greenWeight: 1, yellowWeight: -0.5, redWeight: -1, bias: -0.5,
};

export function startNeuron() {
  for (const name of Object.keys(neuron)) {
    const [from, to] = name in LIGHTS ? [0, 1] : [-2, 2];
    const changed = (value) => {
      neuron[name] = value;
      drawNeuron();
    };
    $("neuron-sliders").append(slider(`neuron_${name}`, from, to, 0.05, neuron[name], changed));
  }
}

const sigmoid = (z) => 1 / (1 + Math.exp(-z));

export function drawNeuron() {
  const names = Object.keys(LIGHTS);
  const products = names.map((name) => neuron[name] * neuron[`${name}Weight`]);
  const sum = Math.round((products.reduce((a, b) => a + b) + neuron.bias) * 1e9) / 1e9;
  const fires = sum > 0;
  const drawing = $("neuron-drawing");
  drawing.replaceChildren();
  const middle = { "text-anchor": "middle" };
  for (const name of names) {
    const [y, value, weight] = [LIGHTS[name], neuron[name], neuron[`${name}Weight`]];
    const line = { x1: 66, y1: y, x2: 190, y2: 112, class: weight < 0 ? "below" : "above" };
    drawing.append(makeSvg("line", { ...line, "stroke-width": 1 + 5 * Math.abs(weight) }));
    drawing.append(makeSvg("circle", { cx: 45, cy: y, r: 24, class: "cell" }));
    drawing.append(makeSvg("circle", { cx: 45, cy: y, r: 22 * Math.sqrt(value), class: `lamp ${name}` }));
    drawing.append(makeSvg("text", { x: 45, y: y + 40, ...middle }, `${t(name)} ${show(value)}`));
    drawing.append(makeSvg("text", { x: 122, y: (y + 112) / 2 - (y > 112 ? -18 : 8), ...middle }, `× ${show(weight)}`));
  }
  drawing.append(makeSvg("circle", { cx: 215, cy: 112, r: 32, class: fires ? "cell fires" : "cell" }));
  drawing.append(makeSvg("text", { x: 215, y: 118, ...middle, class: "big" }, show(sum)));
  drawing.append(makeSvg("text", { x: 285, y: 118, ...middle, class: "big" }, t(fires ? "go" : "stop")));
  const terms = names.map((name) => `${term(neuron[`${name}Weight`])} × ${show(neuron[name])}`).join(" + ");
  const added = summands([...products, neuron.bias], sum);
  $("neuron-sum").textContent =
    `${terms} + ${term(neuron.bias)} = ${added.terms.join(" + ")} = ${added.total} ${fires ? "> 0" : "≤ 0"}`;
  const says = { sum: show(sum), relu: show(Math.max(0, sum)), sigmoid: show(sigmoid(sum)) };
  const words = t(fires ? "neuronGo" : "neuronStop", says);
  $("neuron-words").textContent = words;
  drawing.setAttribute("aria-label", words);
  drawCurves(sum);
}

/** What the sum becomes: the step, ReLU and the sigmoid, with a point at the present sum. */
function drawCurves(sum) {
  const [left, width, top, height, most] = [40, 290, 14, 150, 4]; // sums from -4 to 4, answers from 0 to 1.5
  const x = (z) => left + ((z + most) / (2 * most)) * width;
  const y = (answer) => top + height * (1 - answer / 1.5);
  const curve = (of, name) => {
    const points = Array.from({ length: 129 }, (_, i) => -most + (i * most) / 64).filter((z) => of(z) <= 1.5);
    const path = points.map((z, i) => `${i ? "L" : "M"}${x(z).toFixed(1)} ${y(of(z)).toFixed(1)}`).join("");
    return makeSvg("path", { d: path, class: `curve ${name}` });
  };
  const at = Math.max(-most, Math.min(most, sum));
  const text = (px, py, words, more = {}) => makeSvg("text", { x: px, y: py, "text-anchor": "middle", ...more }, words);
  $("neuron-curve").replaceChildren(
    makeSvg("path", { d: `M${left} ${y(0)}H${left + width}M${x(0)} ${top}V${y(0)}`, class: "axis" }),
    ...[-4, -2, 0, 2, 4].map((z) => text(x(z), y(0) + 17, show(z))),
    text(left - 12, y(0) + 4, "0"), text(left - 12, y(1) + 4, "1"), text(left - 16, y(0.5) + 4, "0.5"),
    curve((z) => Math.max(0, z), "relu"), curve(sigmoid, "sigmoid"),
    makeSvg("path", { d: `M${x(at)} ${y(0)}V${y(Math.min(1.5, Math.max(sigmoid(at), at)))}`, class: "axis now" }),
    makeSvg("circle", { cx: x(at), cy: y(sigmoid(at)), r: 6, class: "point" }),
    makeSvg("circle", { cx: x(at), cy: y(Math.min(1.5, Math.max(0, at))), r: 5, class: "point relu" }),
    text(x(-2.6), y(0.24), t("curveSigmoid"), { class: "sigmoid" }), text(x(2.3), y(1.38), t("curveRelu"), { class: "relu" }),
  );
  $("neuron-curve").setAttribute("aria-label", t("curveWords", { sum: show(sum), sigmoid: show(sigmoid(sum)), relu: show(Math.max(0, sum)) }));
}
