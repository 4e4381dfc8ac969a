// The arithmetic, away from the page, which stays free for the person.
import { decodePicture, cutView, meanColour, normalise } from "./picture.js";
import { arraysOf, forward, prepareNet } from "./net.js";

let model, mean, grey, scan = 0;

/** How far a logit stands above the others' together. */
function leadOf(logits, label) {
  const others = logits.filter((_, i) => i !== label);
  const top = Math.max(...others);
  return logits[label] - top - Math.log(others.reduce((sum, z) => sum + Math.exp(z - top), 0));
}

const ANSWERS = {
  load({ net, places, base64 }) {
    const text = atob(base64);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    const numbers = new Float32Array(bytes.buffer);
    const arrays = arraysOf(numbers, places);
    model = prepareNet(net, arrays);
    mean = arrays.mean.values;
    grey = meanColour(mean, net.channels);
    return { numbers };
  },

  async decode({ file }) {
    return { pixels: await decodePicture(file, model.net) };
  },

  run({ pixels, view }) {
    const started = performance.now();
    const cut = cutView(pixels, model.net, view, grey);
    const input = normalise(cut, model.net, mean, view);
    const values = forward(model, input);
    return { cut, input, values, milliseconds: performance.now() - started };
  },

  /** Mean probabilities over `views`. */
  average({ pixels, views }) {
    const sum = new Float64Array(model.net.classes);
    for (const view of views) {
      const input = normalise(cutView(pixels, model.net, view, grey), model.net, mean, view);
      forward(model, input).prob.forEach((p, label) => (sum[label] += p / views.length));
    }
    return { prob: Float32Array.from(sum) };
  },

  /** The probabilities with the values that `drops` keeps of some dropout layers. */
  dropped({ pixels, view, drops }) {
    const input = normalise(cutView(pixels, model.net, view, grey), model.net, mean, view);
    return { prob: forward({ ...model, drops }, input).prob };
  },

  /** Mean probabilities over `count` draws of all dropout layers, and the class that each draw answers. */
  async draws({ pixels, view, count }) {
    const { layers, classes } = model.net;
    const input = normalise(cutView(pixels, model.net, view, grey), model.net, mean, view);
    const first = layers.findIndex(({ kind }) => kind === "dropout");
    const x = first ? forward(model, input)[layers[first - 1].name] : input;
    const sum = new Float64Array(classes);
    const answers = [];
    for (let draw = 0; draw < count; draw++) {
      const dropouts = layers.filter(({ kind }) => kind === "dropout");
      const keep = (layer) => Uint8Array.from({ length: layer.output.reduce((a, b) => a * b) }, () => Number(Math.random() >= layer.rate));
      const drops = Object.fromEntries(dropouts.map((layer) => [layer.name, keep(layer)]));
      const { prob } = forward({ ...model, drops }, x, first);
      prob.forEach((p, label) => (sum[label] += p / count));
      answers.push(prob.indexOf(Math.max(...prob)));
      await new Promise((resolve) => setTimeout(resolve));
    }
    return { prob: Float32Array.from(sum), answers };
  },

  /** The probability and the lead of `label` with the cover at each place of a grid; another scan ends this one. */
  async scan({ pixels, view, label, side, places }) {
    const mine = ++scan;
    const result = new Float32Array(places.length ** 2);
    const margins = new Float64Array(places.length ** 2); // the logarithm of p / (1 - p), which never saturates
    const last = model.net.layers[model.net.layers.length - 1].name;
    for (let i = 0; i < result.length; i++) {
      const cover = { side, top: places[(i / places.length) | 0], left: places[i % places.length] };
      const covered = { ...view, cover };
      const input = normalise(cutView(pixels, model.net, covered, grey), model.net, mean, covered);
      const values = forward(model, input);
      result[i] = values.prob[label];
      margins[i] = leadOf(values[last], label);
      await new Promise((resolve) => setTimeout(resolve)); // what the person does meanwhile comes first
      if (mine !== scan) return { stopped: true };
    }
    return { result, margins };
  },
};

self.onmessage = async ({ data }) => {
  try {
    const answer = await ANSWERS[data.kind](data);
    // A picture's values are handed over: copied, their megabytes would hold the page up.
    const handed = data.kind === "run" ? [answer.cut, answer.input, ...Object.values(answer.values)] : [];
    self.postMessage({ id: data.id, answer }, [...new Set(handed.map((array) => array.buffer))]);
  } catch (error) {
    self.postMessage({ id: data.id, error: String(error && error.message ? error.message : error) });
  }
};
