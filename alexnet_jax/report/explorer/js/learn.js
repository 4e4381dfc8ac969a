// The smallest net: nine pixels, two rectified units, two outputs by softmax, and one step of gradient descent.

/** Weights by hand, so that it takes the 1 for a 0. `hidden` is [unit][pixel], `output` [digit][unit]. */
export function smallestNet() {
  return {
    hidden: [
      [0.2, 0.1, 0.2, 0.1, -0.1, 0.1, 0.2, 0.1, 0.2],
      [-0.1, 0.3, -0.1, -0.1, 0.4, -0.1, -0.1, 0.3, -0.1],
    ],
    hiddenBias: [0.1, 0],
    output: [
      [0.6, 0.9],
      [0.3, -0.4],
    ],
    outputBias: [0, 0],
  };
}

/** The forward pass: {sums, units, logits, outputs}. */
export function think(net, x) {
  const sums = net.hidden.map((row, u) => row.reduce((sum, w, i) => sum + w * x[i], net.hiddenBias[u]));
  const units = sums.map((s) => Math.max(0, s));
  const logits = net.output.map((row, o) => row.reduce((sum, w, u) => sum + w * units[u], net.outputBias[o]));
  const powers = logits.map((z) => Math.exp(z - Math.max(...logits)));
  const total = powers.reduce((a, b) => a + b);
  return { sums, units, logits, outputs: powers.map((p) => p / total) };
}

/** The gradient of the cross-entropy, -log of the right output, in the net's own form. */
export function gradient(net, x, target) {
  const { sums, units, outputs } = think(net, x);
  const errors = outputs.map((p, o) => p - (o === target ? 1 : 0)); // by each logit
  const back = units.map((_, u) => (sums[u] > 0 ? errors.reduce((sum, e, o) => sum + e * net.output[o][u], 0) : 0));
  return {
    hidden: back.map((e) => x.map((pixel) => e * pixel)),
    hiddenBias: back,
    output: errors.map((e) => units.map((unit) => e * unit)),
    outputBias: errors,
  };
}

/** The net after one step: each weight minus rate times its gradient. */
export function step(net, slope, rate) {
  const moved = (weights, slopes) =>
    weights.map((w, i) => (Array.isArray(w) ? moved(w, slopes[i]) : w - rate * slopes[i]));
  return Object.fromEntries(Object.keys(net).map((name) => [name, moved(net[name], slope[name])]));
}
