// Lesson 1, one neuron: go where there is more green than red.
import { $, makeSvg, show, slider, term } from "./dom.js";
import { STRINGS } from "./neuron-strings.js";
import { addStrings, t } from "./strings.js";

addStrings(STRINGS);

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
