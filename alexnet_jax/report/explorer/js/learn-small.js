// The first step: nine pixels, two rectified units, two answers; the 1 and the 0 take turns.
import { $, bar, make, numberTable, show } from "./dom.js";
import { paint, paintGrey } from "./draw.js";
import { blame, deadUnits, gradient, smallestNet, step, think } from "./learn-net.js";
import { drawCurve, trainer } from "./trainer.js";
import { t } from "./strings.js";

const IMAGES = [
  { x: [0, 1, 0, 0, 1, 0, 0, 1, 0], target: 1 },
  { x: [1, 1, 1, 1, 0, 1, 1, 1, 1], target: 0 },
];
const fresh = () => ({
  net: smallestNet(),
  examples: IMAGES.map(({ x, target }) => ({ x: [...x], target })),
  turn: 0, // the example of the next step
  steps: 0,
  errors: [],
  last: null, // the step made last: {net, slope, rate, example}
});
export const smallLesson = { ...fresh(), rate: 0.2 };

export function startSmall() {
  for (let i = 0; i < 9; i++) {
    const button = make("button", { type: "button" });
    button.addEventListener("click", () => {
      const { x } = smallLesson.examples[smallLesson.turn];
      x[i] = 1 - x[i];
      smallLesson.last = null;
      drawSmall();
    });
    $("learn-picture").append(button);
  }
  $("learn-rate").addEventListener("input", () => {
    smallLesson.rate = +$("learn-rate").value;
    drawSmall();
  });
  $("learn-turn").addEventListener("change", () => {
    smallLesson.turn = +$("learn-turn").value;
    smallLesson.last = null;
    drawSmall();
  });
  trainer("learn-controls", { step: stepSmall, draw: drawSmall, restart: () => Object.assign(smallLesson, fresh()), most: 1 });
}

function stepSmall() {
  const { net, examples, turn, rate } = smallLesson;
  const example = { ...examples[turn], x: [...examples[turn].x] };
  const slope = gradient(net, [example]);
  smallLesson.net = step(net, slope, rate);
  smallLesson.last = { net, slope, rate, example };
  smallLesson.errors.push(slope.loss);
  smallLesson.steps += 1;
  smallLesson.turn = (turn + 1) % examples.length;
}

export function drawSmall() {
  const { net, examples, turn, rate, steps, last, errors } = smallLesson;
  const example = last ? last.example : examples[turn];
  const { x, target } = example;
  $("learn-rate-value").textContent = show(rate);
  $("learn-turn").value = String(turn);
  [...$("learn-picture").children].forEach((button, i) => {
    const value = examples[turn].x[i];
    paintGrey(button, value);
    button.textContent = value;
    button.setAttribute("aria-pressed", String(Boolean(value)));
    button.setAttribute("aria-label", t("pixel", { n: i, value }));
  });
  const now = think(net, x);
  const was = last && think(last.net, x);
  $("learn-bars").replaceChildren(...Array.from(now.outputs, (p, o) => {
    const before = was ? `${show(was.outputs[o])} → ` : "";
    return bar(t("outputIs", { digit: o, was: before, p: show(p), target: o === target ? 1 : 0 }), p);
  }));
  const errorNow = examples.reduce((sum, e) => sum - Math.log(think(net, e.x).outputs[e.target]) / examples.length, 0);
  $("learn-count").textContent = t("steps", { n: steps, loss: show(errorNow) });
  drawCurve($("learn-curve"), errors, $("learn-count").textContent);
  saySmall(now, was, example);
  const dead = deadUnits(net, examples);
  $("learn-dead").hidden = !dead.length;
  $("learn-dead").textContent = dead.map((u) => t("deadUnit", {
    n: u, one: show(think(net, examples[0].x).sums[u]), zero: show(think(net, examples[1].x).sums[u]),
  })).join(" ");
  drawTables(example);
}

function saySmall(now, was, { x, target }) {
  const { net, last, rate } = smallLesson;
  const wrong = 1 - target;
  const at = wrong * net.units + 1; // the weight from unit 1 to the wrong answer
  if (last) {
    const moved = last.rate * last.slope.output[at];
    $("learn-words").textContent = t("learnAfter", {
      right: target, digit: wrong, before: show(was.outputs[wrong]), after: show(now.outputs[wrong]), rate: show(last.rate),
      error: show(was.outputs[wrong]), unit: show(was.hidden[1]), slope: show(last.slope.output[at]),
      move: show(-moved), weight: show(last.net.output[at]), now: show(net.output[at]),
    });
  } else {
    const { errors, hidden } = blame(net, x, target);
    $("learn-words").textContent = t("learnBefore", {
      right: target, digit: wrong, p: show(now.outputs[wrong]), unit: show(hidden[1]), rate: show(rate), slope: show(errors[wrong] * hidden[1]),
    });
  }
}

function drawTables({ x, target }) {
  const { net, last, rate } = smallLesson;
  const shown = last ? last.net : net;
  const slopes = last ? last.slope : gradient(net, [{ x, target }]);
  const used = last ? last.rate : rate;
  const state = think(shown, x);
  const rows = [];
  const add = (name, weight, incoming, slope) => {
    const change = make("td", {}, show(-used * slope));
    paint(change, Math.max(-1, Math.min(1, -used * slope * 6)));
    rows.push(make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, incoming), make("td", {}, show(weight)),
      make("td", {}, show(slope)), change, make("td", {}, show(weight - used * slope))));
  };
  for (let o = 0; o < shown.answers; o++) {
    for (let u = 0; u < shown.units; u++) {
      const at = o * shown.units + u;
      add(t("weightTo", { from: t("unit", { n: u }), to: o }), shown.output[at], show(state.hidden[u]), slopes.output[at]);
    }
    add(t("biasOf", { name: o }), shown.outputBias[o], "1", slopes.outputBias[o]);
  }
  for (let u = 0; u < shown.units; u++) {
    for (let i = 0; i < shown.pixels; i++) {
      const at = u * shown.pixels + i;
      add(t("weightTo", { from: t("pixelName", { n: i }), to: t("unit", { n: u }) }), shown.hidden[at], show(x[i]), slopes.hidden[at]);
    }
    add(t("biasOf", { name: t("unit", { n: u }) }), shown.hiddenBias[u], "1", slopes.hiddenBias[u]);
  }
  const head = ["weightWord", "incoming", last ? "wasWord" : "isWord", "slopeWord", "changeWord", last ? "nowWord" : "wouldBe"];
  const table = make("table", { class: "moves" },
    make("thead", {}, make("tr", {}, ...head.map((key) => make("th", { scope: "col" }, t(key))))),
    make("tbody", {}, ...rows));
  const now = think(net, x); // the weights as they are, after the step
  $("learn-weights").replaceChildren(...Array.from({ length: net.units }, (_, u) =>
    numberTable(Array.from(net.hidden.slice(u * net.pixels, (u + 1) * net.pixels)), 3, paint, {
      most: 0.6, caption: t("unitIs", { n: u, value: show(now.hidden[u]) }),
    })));
  $("learn-table").replaceChildren(table);
}
