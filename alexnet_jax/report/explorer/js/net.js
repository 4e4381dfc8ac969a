// The trained net: the table's rows run on one picture, as model/layers.py defines them.
// Values are (H, W, C) or (C), the last axis fastest; towers stand side by side on the last axis.

/** The page's numbers by name: {name: {shape, values}}. */
export function arraysOf(numbers, places) {
  const arrays = {};
  for (const [name, { at, shape }] of Object.entries(places)) {
    const length = shape.reduce((a, b) => a * b, 1);
    arrays[name] = { shape, values: numbers.subarray(at, at + length) };
  }
  return arrays;
}

/** What a net computes with: kernels laid out for `multiply`, four outputs beside each other. */
export function prepareNet(net, arrays) {
  const packed = {};
  for (const layer of net.layers) {
    if (layer.kind !== "conv") continue;
    const kernel = arrays[`${layer.name}/kernel`];
    const [towers, height, width, seen, made] = kernel.shape;
    const inputs = height * width * seen;
    const panels = Math.ceil(made / 4);
    packed[layer.name] = [];
    for (let t = 0; t < towers; t++) {
      const panel = new Float64Array(panels * inputs * 4);
      const start = t * inputs * made;
      for (let i = 0; i < inputs; i++) {
        for (let o = 0; o < made; o++) {
          panel[((o >> 2) * inputs + i) * 4 + (o & 3)] = kernel.values[start + i * made + o];
        }
      }
      packed[layer.name].push(panel);
    }
  }
  return { net, arrays, packed };
}

/** Runs the rows from row `from` on, whose input is `x`. Returns {name: Float32Array}, "prob" too where the net
 * ends in classes.
 *
 * `model.drops`: for dropout layers by name, 1 for each value that a draw keeps; the others run as in use.
 */
export function forward(model, x, from = 0) {
  const { net } = model;
  const values = {};
  let shape = from ? net.layers[from - 1].output : [net.crop, net.crop, net.channels];
  for (const layer of net.layers.slice(from)) {
    x = LAYERS[layer.kind](model, layer, x, shape);
    shape = layer.output;
    values[layer.name] = x;
  }
  if (net.hasClasses) values.prob = softmax(x);
  return values;
}

export function softmax(logits) {
  const top = Math.max(...logits);
  const powers = Float64Array.from(logits, (z) => Math.exp(z - top));
  const sum = powers.reduce((a, b) => a + b, 0);
  return Float32Array.from(powers, (p) => p / sum);
}

const LAYERS = { conv, local, dense, activation, lrn, sameMapLrn, rmsNorm, pool, adaptivePool, dropout };

/** Copies the patch under one place into `target`, `step` numbers apart: what a kernel reads, row by row. */
export function gather(layer, x, shape, firstChannel, seen, row, column, target, at, step) {
  const [height, width, channels] = shape;
  const size = layer.kernel;
  const top = row * layer.stride - layer.pad[0];
  const left = column * layer.stride - layer.pad[0];
  for (let i = 0; i < size; i++) {
    const y = top + i;
    for (let j = 0; j < size; j++) {
      const z = left + j;
      if (y < 0 || y >= height || z < 0 || z >= width) {
        for (let c = 0; c < seen; c++, at += step) target[at] = 0;
      } else {
        let from = (y * width + z) * channels + firstChannel;
        for (let c = 0; c < seen; c++, at += step) target[at] = x[from++];
      }
    }
  }
}

function conv(model, layer, x, shape) {
  const kernel = model.arrays[`${layer.name}/kernel`];
  const bias = model.arrays[`${layer.name}/bias`].values;
  const [towers, height, width, seen, made] = kernel.shape;
  const inputs = height * width * seen;
  const [rows, columns, features] = layer.output;
  const places = rows * columns;
  const result = new Float32Array(places * features);
  const own = seen < shape[2];
  const pair = new Float64Array(2 * inputs); // two patches, number by number
  for (let t = 0; t < towers; t++) {
    if (t && !own) break;
    for (let place = 0; place < places; place += 2) {
      gather(layer, x, shape, own ? t * seen : 0, seen, (place / columns) | 0, place % columns, pair, 0, 2);
      const second = place + 1 < places;
      if (second) {
        const next = place + 1;
        gather(layer, x, shape, own ? t * seen : 0, seen, (next / columns) | 0, next % columns, pair, 1, 2);
      }
      for (let to = own ? t : 0; to < (own ? t + 1 : towers); to++) {
        multiply(
          pair, inputs, model.packed[layer.name][to], made, bias, to * made,
          result, place * features + to * made, features, second,
        );
      }
    }
  }
  return result;
}

/** Two patches times a kernel: blocks of 2 x 4 sums that stay in registers. */
function multiply(pair, inputs, panel, made, bias, biasAt, result, at, rowLength, second) {
  const end = 2 * inputs;
  for (let o = 0; o < made; o += 4) {
    let a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
    for (let k = 0, p = o * inputs; k < end; k += 2, p += 4) {
      const a = pair[k], b = pair[k + 1];
      const w0 = panel[p], w1 = panel[p + 1], w2 = panel[p + 2], w3 = panel[p + 3];
      a0 += a * w0; a1 += a * w1; a2 += a * w2; a3 += a * w3;
      b0 += b * w0; b1 += b * w1; b2 += b * w2; b3 += b * w3;
    }
    const first = [a0, a1, a2, a3];
    const other = [b0, b1, b2, b3];
    for (let n = 0; n < 4 && o + n < made; n++) {
      result[at + o + n] = first[n] + bias[biasAt + o + n];
      if (second) result[at + rowLength + o + n] = other[n] + bias[biasAt + o + n];
    }
  }
}

function local(model, layer, x, shape) {
  const kernel = model.arrays[`${layer.name}/kernel`].values;
  const bias = model.arrays[`${layer.name}/bias`].values;
  const [rows, columns, features] = layer.output;
  const inputs = layer.kernel * layer.kernel * shape[2];
  const result = new Float32Array(rows * columns * features);
  const patch = new Float64Array(inputs);
  const sums = new Float64Array(features);
  for (let place = 0; place < rows * columns; place++) {
    gather(layer, x, shape, 0, shape[2], (place / columns) | 0, place % columns, patch, 0, 1);
    for (let o = 0; o < features; o++) sums[o] = bias[place * features + o];
    for (let i = 0; i < inputs; i++) {
      const value = patch[i];
      const from = (place * inputs + i) * features;
      if (value !== 0) for (let o = 0; o < features; o++) sums[o] += value * kernel[from + o];
    }
    result.set(sums, place * features);
  }
  return result;
}

/** What tower t reads of a fully connected layer's input, flattened (H, W, C). */
export function denseInputs(layer, kernelShape, x, shape, t) {
  const [towers, seen] = kernelShape;
  if (seen === x.length) return x;
  const channels = shape[shape.length - 1];
  const own = channels / towers;
  const part = new Float32Array(seen);
  for (let place = 0, at = 0; place < x.length; place += channels) {
    for (let c = 0; c < own; c++) part[at++] = x[place + t * own + c];
  }
  return part;
}

function dense(model, layer, x, shape) {
  const kernel = model.arrays[`${layer.name}/kernel`];
  const bias = model.arrays[`${layer.name}/bias`].values;
  const [towers, seen, made] = kernel.shape;
  const summed = layer.reads === "sum";
  const sums = Float64Array.from(bias);
  for (let t = 0; t < towers; t++) {
    const part = denseInputs(layer, kernel.shape, x, shape, t);
    const to = summed ? 0 : t * made;
    for (let i = 0; i < seen; i++) {
      const value = part[i];
      if (value === 0) continue;
      const from = (t * seen + i) * made;
      for (let o = 0; o < made; o++) sums[to + o] += value * kernel.values[from + o];
    }
  }
  return Float32Array.from(sums);
}

export function activate(kind, x) {
  if (kind === "relu") return x > 0 ? x : 0;
  return kind === "tanh" ? Math.tanh(x) : 1 / (1 + Math.exp(-x));
}

function activation(model, layer, x) {
  return x.map((value) => activate(layer.how, value));
}

/** The maps whose squares the normalisation of map c sums: [first, behind the last]. */
export function lrnWindow(layer, channels, towers, c) {
  const length = layer.across ? channels : channels / towers;
  const edge = Math.floor(c / length) * length;
  const half = layer.size >> 1;
  return [Math.max(edge, c - half), Math.min(edge + length, c + half + 1)];
}

function lrn(model, layer, x, shape) {
  const channels = shape[2];
  const result = new Float32Array(x.length);
  for (let c = 0; c < channels; c++) {
    const [first, behind] = lrnWindow(layer, channels, model.net.towers, c);
    for (let place = 0; place < x.length; place += channels) {
      let sum = 0;
      for (let m = first; m < behind; m++) sum += x[place + m] * x[place + m];
      result[place + c] = x[place + c] * (layer.k + layer.alpha * sum) ** -layer.beta;
    }
  }
  return result;
}

function sameMapLrn(model, layer, x, shape) {
  const [height, width, channels] = shape;
  const half = layer.size >> 1;
  const result = new Float32Array(x.length);
  for (let r = 0; r < height; r++) {
    for (let s = 0; s < width; s++) {
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        for (let i = Math.max(0, r - half); i < Math.min(height, r + half + 1); i++) {
          for (let j = Math.max(0, s - half); j < Math.min(width, s + half + 1); j++) {
            const value = x[(i * width + j) * channels + c];
            sum += value * value;
          }
        }
        const at = (r * width + s) * channels + c;
        result[at] = x[at] * (layer.k + layer.alpha * sum) ** -layer.beta;
      }
    }
  }
  return result;
}

/** What `rmsNorm` divides by: the root of the mean of the squares, of all positions and channels. */
export function rootMeanSquare(x) {
  let sum = 0;
  for (const value of x) sum += value * value;
  return Math.sqrt(Math.max(sum / x.length, 1e-24));
}

function rmsNorm(model, layer, x) {
  const root = rootMeanSquare(x);
  return x.map((value) => value / root);
}

function pool(model, layer, x, shape) {
  const [height, width, channels] = shape;
  const [rows, columns] = layer.output;
  const average = layer.how === "average";
  const result = new Float32Array(rows * columns * channels);
  for (let r = 0; r < rows; r++) {
    for (let s = 0; s < columns; s++) {
      const bottom = Math.min(height, r * layer.stride + layer.size);
      const right = Math.min(width, s * layer.stride + layer.size);
      const top = r * layer.stride;
      const left = s * layer.stride;
      for (let c = 0; c < channels; c++) {
        let found = average ? 0 : -Infinity;
        for (let i = top; i < bottom; i++) {
          for (let j = left; j < right; j++) {
            const value = x[(i * width + j) * channels + c];
            if (average) found += value;
            else if (value > found) found = value;
          }
        }
        result[(r * columns + s) * channels + c] = average ? found / ((bottom - top) * (right - left)) : found;
      }
    }
  }
  return result;
}

function adaptivePool(model, layer, x, shape) {
  const [height, width, channels] = shape;
  const side = layer.side;
  const result = new Float32Array(side * side * channels);
  for (let r = 0; r < side; r++) {
    for (let s = 0; s < side; s++) {
      const [top, bottom] = adaptiveWindow(height, side, r);
      const [left, right] = adaptiveWindow(width, side, s);
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        for (let i = top; i < bottom; i++) {
          for (let j = left; j < right; j++) sum += x[(i * width + j) * channels + c];
        }
        result[(r * side + s) * channels + c] = sum / ((bottom - top) * (right - left));
      }
    }
  }
  return result;
}

/** Window i of `side` over `length`: [first, behind the last]. */
export function adaptiveWindow(length, side, i) {
  return [Math.floor((i * length) / side), Math.ceil(((i + 1) * length) / side)];
}

function dropout(model, layer, x) {
  const kept = model.drops && model.drops[layer.name];
  if (kept) return x.map((value, i) => (kept[i] ? (layer.inverted ? value / (1 - layer.rate) : value) : 0));
  return layer.inverted ? x : x.map((value) => value * (1 - layer.rate));
}
