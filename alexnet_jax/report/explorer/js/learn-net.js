// Nets of one hidden layer, softmax at the end, and gradient descent on their cross-entropy.

const UNITS = {
  relu: { of: (s) => Math.max(0, s), slope: (s) => (s > 0 ? 1 : 0) },
  sigmoid: { of: (s) => 1 / (1 + Math.exp(-s)), slope: (s, unit) => unit * (1 - unit) },
};

/** A net: `hidden` is [unit * pixels + pixel], `output` [answer * units + unit]. */
function makeNet(kind, pixels, hidden, hiddenBias, output, outputBias) {
  const numbers = (values) => Float64Array.from(values);
  return {
    kind, pixels, units: hiddenBias.length, answers: outputBias.length,
    hidden: numbers(hidden), hiddenBias: numbers(hiddenBias), output: numbers(output), outputBias: numbers(outputBias),
  };
}

export const PARTS = ["hidden", "hiddenBias", "output", "outputBias"];

/** Nine pixels, two rectified units, two answers; weights by hand, so that it takes the 1 for a 0. */
export function smallestNet() {
  const hidden = [0.2, 0.1, 0.2, 0.1, -0.1, 0.1, 0.2, 0.1, 0.2, -0.1, 0.3, -0.1, -0.1, 0.4, -0.1, -0.1, 0.3, -0.1];
  return makeNet("relu", 9, hidden, [0.1, 0], [0.5, 0.5, 0.2, 0.3], [0, 0]);
}

/** 784-15-10 sigmoid units as configs/mnist.py begins them: standard deviations of 1 / sqrt(inputs), biases 0. */
export function digitNet(seed) {
  const draw = normalNumbers(seed);
  const weights = (count, inputs) => Array.from({ length: count }, () => draw() / Math.sqrt(inputs));
  return makeNet("sigmoid", 784, weights(15 * 784, 784), new Array(15).fill(0), weights(150, 15), new Array(10).fill(0));
}

/** Uniform numbers from 0 to 1, the same for the same seed (mulberry32). */
export function uniformNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 4294967296;
  };
}

function normalNumbers(seed) {
  const uniform = uniformNumbers(seed);
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

/** The forward pass: {sums, hidden, logits, outputs}. */
export function think(net, x) {
  const { pixels, units, answers } = net;
  const sums = Float64Array.from(net.hiddenBias);
  for (let u = 0, at = 0; u < units; u++) {
    let sum = 0;
    for (let i = 0; i < pixels; i++, at++) sum += net.hidden[at] * x[i];
    sums[u] += sum;
  }
  const hidden = sums.map(UNITS[net.kind].of);
  const logits = net.outputBias.map((bias, o) => hidden.reduce((sum, h, u) => sum + net.output[o * units + u] * h, bias));
  const top = Math.max(...logits);
  const powers = logits.map((z) => Math.exp(z - top));
  const total = powers.reduce((a, b) => a + b);
  return { sums, hidden, logits, outputs: Float64Array.from({ length: answers }, (_, o) => powers[o] / total) };
}

/** What one example says about each unit: {...think, errors: of each answer, back: of each unit, slopes}. */
export function blame(net, x, target) {
  const thought = think(net, x);
  const errors = thought.outputs.map((p, o) => p - (o === target ? 1 : 0));
  const back = new Float64Array(net.units); // the errors, weighed, before the unit's own slope
  for (let o = 0; o < net.answers; o++) {
    for (let u = 0; u < net.units; u++) back[u] += errors[o] * net.output[o * net.units + u];
  }
  const slopes = thought.hidden.map((h, u) => UNITS[net.kind].slope(thought.sums[u], h));
  return { ...thought, errors, back, slopes };
}

/** The gradient of the mean cross-entropy, -log of the right answer, over [{x, target}]; its loss too. */
export function gradient(net, examples) {
  const found = Object.fromEntries(PARTS.map((part) => [part, new Float64Array(net[part].length)]));
  const share = 1 / examples.length;
  let loss = 0;
  for (const { x, target } of examples) {
    const { hidden, outputs, errors, back, slopes } = blame(net, x, target);
    loss -= share * Math.log(Math.max(outputs[target], 1e-300));
    for (let o = 0; o < net.answers; o++) {
      found.outputBias[o] += share * errors[o];
      for (let u = 0; u < net.units; u++) found.output[o * net.units + u] += share * errors[o] * hidden[u];
    }
    for (let u = 0; u < net.units; u++) {
      const error = share * back[u] * slopes[u];
      if (error === 0) continue;
      found.hiddenBias[u] += error;
      for (let i = 0, at = u * net.pixels; i < net.pixels; i++, at++) found.hidden[at] += error * x[i];
    }
  }
  return { ...found, loss };
}

/** The net after one step: each weight minus rate times its slope. */
export function step(net, slope, rate) {
  const moved = PARTS.map((part) => [part, net[part].map((w, i) => w - rate * slope[part][i])]);
  return { ...net, ...Object.fromEntries(moved) };
}

/** Units that are 0 for every example: no slope reaches them, so no step can bring them back. */
export function deadUnits(net, examples) {
  if (net.kind !== "relu") return [];
  const sums = examples.map(({ x }) => think(net, x).sums);
  return [...net.hiddenBias.keys()].filter((u) => sums.every((s) => s[u] <= 0));
}
