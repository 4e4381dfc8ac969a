// Handwriting: 784 pixels, 15 sigmoid units, 10 answers, and the chain rule behind one of its weights.
import { $, bar, make, percent, roomIn, show, stepper } from "./dom.js";
import { image, largest, pictureImage, sized } from "./draw.js";
import { Cells } from "./cells.js";
import { drawChain } from "./learn-chain.js";
import { blame, digitNet, gradient, step, think, uniformNumbers } from "./learn-net.js";
import { IMAGE, enlarge, levelsOf, unpack } from "./digits.js";
import { drawCurve, trainer } from "./trainer.js";
import { t } from "./strings.js";

const SEED = 2012;
const PAD = 240; // pixels of the field to draw in
const SEEN = 112; // of what the net sees of it
const TILE = 88; // of a unit's image
const COUNT_EVERY = 20; // steps between two counts of the right answers

const fresh = () => ({ net: digitNet(SEED), steps: 0, errors: [], last: null, right: null, countedAt: -1, order: [], at: 0 });
export const digitLesson = {
  ...fresh(),
  rate: 0.5,
  batch: 10,
  seen: [], // the examples it learns from, one of each digit in turn
  unseen: [],
  strokes: [],
  current: null, // the digit looked at: {x, target, drawn}
  unit: 0,
  pixel: null, // [row, column] that was chosen; null: the brightest
};
let cells, buttons, training;

export function startDigits(digits) {
  $("digits-missing").hidden = Boolean(digits);
  $("digits-lesson").hidden = !digits;
  if (!digits) return;
  const examples = unpack(digits);
  digitLesson.seen = examples.slice(0, digits.seen);
  digitLesson.unseen = examples.slice(digits.seen);
  digitLesson.current = { ...digitLesson.seen[0], drawn: false };
  training = trainer("digit-controls", {
    step: () => stepOn(nextExamples()),
    draw: drawDigits,
    restart: () => Object.assign(digitLesson, fresh()),
  });
  buildPad();
  for (const [id, key] of [["digit-rate", "rate"], ["digit-batch", "batch"]]) {
    $(id).addEventListener("input", () => {
      digitLesson[key] = +$(id).value;
      drawDigits();
    });
  }
  buttons = digitLesson.net.hiddenBias.reduce((all, _, u) => [...all, unitButton(u)], []);
  $("digit-units").append(...buttons);
  const moved = (row, column) => {
    digitLesson.pixel = [row, column];
    drawOne();
  };
  cells = new Cells($("digit-unit"), { moved });
  $("digit-unit").after(stepper(cells));
}

function unitButton(unit) {
  const button = make("button", { type: "button", class: "unit" }, make("canvas", {}), make("span", {}));
  button.addEventListener("click", () => {
    digitLesson.unit = unit;
    drawDigits();
  });
  return button;
}

/** The next examples: one of each digit in turn, each digit's in an order drawn anew when all have been shown. */
function nextExamples() {
  const { seen, batch } = digitLesson;
  const draw = uniformNumbers(SEED + digitLesson.steps);
  return Array.from({ length: batch }, () => {
    if (digitLesson.at >= digitLesson.order.length) {
      const shuffled = [...seen.keys()].map((i) => [draw(), i]).sort((a, b) => a[0] - b[0]).map(([, i]) => i);
      const piles = Array.from({ length: 10 }, (_, digit) => shuffled.filter((i) => seen[i].target === digit));
      digitLesson.order = piles[0].flatMap((_, round) => piles.map((pile) => pile[round % pile.length]));
      digitLesson.at = 0;
    }
    return seen[digitLesson.order[digitLesson.at++]];
  });
}

/** One step of gradient descent on the mean error of some examples. */
function stepOn(examples, drawn = false) {
  const { net, rate } = digitLesson;
  const slope = gradient(net, examples);
  digitLesson.net = step(net, slope, rate);
  digitLesson.last = { net, slope, rate, examples, drawn };
  digitLesson.errors.push(slope.loss);
  digitLesson.steps += 1;
  if (!digitLesson.strokes.length && !drawn) digitLesson.current = { ...examples[0], drawn: false };
}

function buildPad() {
  const pad = $("digit-pad");
  let drawing = false;
  const point = (event) => {
    const box = pad.getBoundingClientRect();
    return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
  };
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    drawing = true;
    if (!digitLesson.strokes.length) $("digit-target").value = ""; // nobody has said what this one is
    digitLesson.strokes.push([point(event)]);
    takeDrawing();
  });
  pad.addEventListener("pointermove", (event) => {
    if (!drawing) return;
    digitLesson.strokes[digitLesson.strokes.length - 1].push(point(event));
    takeDrawing();
  });
  for (const end of ["pointerup", "pointercancel"]) pad.addEventListener(end, () => (drawing = false));
  $("digit-clear").addEventListener("click", () => {
    digitLesson.strokes = [];
    digitLesson.current = { ...digitLesson.seen[0], drawn: false };
    digitLesson.last = null;
    drawDigits();
  });
  let next = 0;
  $("digit-example").addEventListener("click", () => {
    digitLesson.strokes = [];
    next = (next + 11) % digitLesson.unseen.length;
    digitLesson.current = { ...digitLesson.unseen[next], drawn: true };
    digitLesson.last = null;
    $("digit-target").value = String(digitLesson.current.target);
    drawDigits();
  });
  $("digit-target").append(...Array.from({ length: 10 }, (_, n) => make("option", { value: String(n) }, String(n))));
  $("digit-target").prepend(make("option", { value: "", disabled: "", hidden: "" }, "?"));
  $("digit-target").value = "0";
  $("digit-target").addEventListener("change", () => {
    digitLesson.current = { ...digitLesson.current, target: +$("digit-target").value, said: true };
    digitLesson.last = null;
    drawDigits();
  });
  $("digit-step").addEventListener("click", () => {
    stepOn([digitLesson.current], true);
    drawDigits();
  });
}

/** Looks at what is drawn, as the net sees it; until somebody says what it is, it counts as what the net says. */
function takeDrawing() {
  const x = enlarge(levelsOf(digitLesson.strokes));
  const said = $("digit-target").value !== "";
  const { outputs } = think(digitLesson.net, x);
  const target = said ? +$("digit-target").value : outputs.indexOf(Math.max(...outputs));
  digitLesson.current = { x, target, said, drawn: true };
  digitLesson.last = null;
  drawDigits();
}
digitLesson.take = (strokes) => {
  $("digit-target").value = "";
  digitLesson.strokes = strokes;
  takeDrawing();
};

function drawPad() {
  const pad = Math.min(PAD, roomIn($("digit-pad").parentElement) - SEEN - 14);
  const context = sized($("digit-pad"), pad, pad);
  context.fillStyle = "#000";
  context.fillRect(0, 0, pad, pad);
  if (!digitLesson.strokes.length) {
    context.fillStyle = "#aaa";
    context.font = "15px system-ui";
    context.textAlign = "center";
    context.fillText(t("drawHere"), pad / 2, pad / 2);
  }
  context.strokeStyle = "#fff";
  context.lineWidth = pad / 12;
  context.lineCap = context.lineJoin = "round";
  for (const stroke of digitLesson.strokes) {
    context.beginPath();
    stroke.forEach(({ x, y }, i) => (i ? context.lineTo(x * pad, y * pad) : context.moveTo(x * pad, y * pad)));
    if (stroke.length === 1) context.lineTo(stroke[0].x * pad + 0.1, stroke[0].y * pad);
    context.stroke();
  }
  $("digit-pad").setAttribute("aria-label", t("padLabel"));
  const grey = Uint8Array.from(digitLesson.current.x, (value) => 255 * value);
  sized($("digit-seen"), SEEN, SEEN).drawImage(pictureImage(grey, IMAGE, 1), 0, 0, SEEN, SEEN);
  $("digit-seen-name").textContent = t(digitLesson.current.drawn ? "asItSees" : "exampleSeen");
  $("digit-seen").setAttribute("aria-label", $("digit-seen-name").textContent);
}

function unitImage(unit, most) {
  const { hidden, pixels } = digitLesson.net;
  const from = unit * pixels;
  return image(IMAGE, IMAGE, (r, c) => hidden[from + r * IMAGE + c] / most);
}

/** Draws all that a step changes. */
export function drawDigits() {
  if (!digitLesson.current) return;
  const { net, current, steps, errors, rate } = digitLesson;
  drawPad();
  const { outputs, hidden } = think(net, current.x);
  const guess = outputs.indexOf(Math.max(...outputs));
  $("digit-bars-title").textContent = t(current.drawn ? "itsAnswers" : "itsAnswersToExample");
  $("digit-bars").replaceChildren(...Array.from(outputs, (p, n) => bar(`${n}  ${percent(p)}`, p)));
  $("digit-bars").children[guess].classList.add("winner");
  const says = { n: guess, p: percent(outputs[guess]), target: current.target };
  const unsaid = current.said === false;
  $("digit-words").textContent = t(unsaid ? "digitSays" : guess === current.target ? "digitRight" : "digitWrong", says);
  $("digit-target").value = unsaid ? "" : String(current.target);
  $("digit-step").disabled = unsaid;
  $("digit-rate-value").textContent = show(rate);
  if (digitLesson.countedAt < 0 || steps - digitLesson.countedAt >= COUNT_EVERY || !training.running()) countRight();
  $("digit-count").textContent = t("digitCount", {
    n: steps, error: errors.length ? show(errors[errors.length - 1]) : "–",
    right: digitLesson.right, of: digitLesson.unseen.length,
  });
  drawCurve($("digit-curve"), errors, $("digit-count").textContent);
  buttons.forEach((button, unit) => {
    const context = sized(button.firstChild, TILE, TILE);
    context.drawImage(unitImage(unit, largest(net.hidden.subarray(unit * net.pixels, (unit + 1) * net.pixels))), 0, 0, TILE, TILE);
    button.lastChild.textContent = `${unit}: ${hidden[unit].toFixed(2)}`;
    button.setAttribute("aria-label", t("unitValue", { n: unit, value: hidden[unit].toFixed(2) }));
    button.setAttribute("aria-pressed", String(unit === digitLesson.unit));
  });
  drawOne();
}

function countRight() {
  const { net, unseen, steps } = digitLesson;
  if (digitLesson.countedAt === steps) return;
  digitLesson.countedAt = steps;
  digitLesson.right = unseen.filter(({ x, target }) => {
    const { outputs } = think(net, x);
    return outputs.indexOf(Math.max(...outputs)) === target;
  }).length;
}

/** Draws one hidden unit at large, and the chain rule for one of its weights. */
function drawOne() {
  const { net, unit, current, last, rate } = digitLesson;
  const made = last || { net, examples: [current], slope: null, rate };
  const example = made.examples[0];
  const brightest = example.x.indexOf(Math.max(...example.x));
  const [row, column] = digitLesson.pixel || [Math.floor(brightest / IMAGE), brightest % IMAGE];
  cells.cell = [row, column];
  const side = [14, 12].find((each) => roomIn($("digit-unit").parentElement) >= each * IMAGE) || 8;
  cells.draw(IMAGE, IMAGE, side, (context) => {
    const own = net.hidden.subarray(unit * net.pixels, (unit + 1) * net.pixels);
    context.drawImage(unitImage(unit, largest(own)), 0, 0, IMAGE * side, IMAGE * side);
  });
  $("digit-unit-title").textContent = t("unitWeights", { n: unit });
  $("digit-unit").setAttribute("aria-label", $("digit-unit-title").textContent);
  const at = unit * net.pixels + row * IMAGE + column;
  const found = blame(made.net, example.x, example.target);
  const own = example.x[row * IMAGE + column] * found.slopes[unit] * found.back[unit];
  const slope = made.slope ? made.slope.hidden[at] : own;
  const chain = {
    made: Boolean(last), drawn: made.drawn || current.drawn, count: made.examples.length,
    row, column, unit, target: example.target, x: example.x[row * IMAGE + column], own, slope, rate: made.rate,
    weight: made.net.hidden[at], now: made.net.hidden[at] - made.rate * slope, found, net: made.net,
  };
  digitLesson.chain = chain;
  drawChain(chain);
}
