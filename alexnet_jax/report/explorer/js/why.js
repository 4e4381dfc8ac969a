// Why a value is what it is: the place in the picture that it depends on, and the sum behind it.
import { adaptiveWindow, denseInputs, gather, lrnWindow } from "./net.js";

/** What layer `index` reads: {values, shape}, the values before it. */
export function before(net, values, input, index) {
  if (!index) return { values: input, shape: [net.crop, net.crop, net.channels] };
  const layer = net.layers[index - 1];
  return { values: values[layer.name], shape: layer.output };
}

/** The rows or columns [first, last] of a layer's input that its rows or columns [first, last] read. */
export function window_(layer, [first, last], length) {
  let reach = [first, last];
  if (layer.kind === "conv" || layer.kind === "local") {
    reach = [first * layer.stride - layer.pad[0], last * layer.stride - layer.pad[0] + layer.kernel - 1];
  } else if (layer.kind === "pool") {
    reach = [first * layer.stride, last * layer.stride + layer.size - 1];
  } else if (layer.kind === "sameMapLrn") {
    reach = [first - (layer.size >> 1), last + (layer.size >> 1)];
  } else if (layer.kind === "adaptivePool") {
    reach = [adaptiveWindow(length, layer.side, first)[0], adaptiveWindow(length, layer.side, last)[1] - 1];
  }
  return [Math.max(0, reach[0]), Math.min(length - 1, reach[1])];
}

/** The part of the crop that a value depends on: {top, left, bottom, right}, all inside. */
export function receptiveField(net, index, row, column) {
  let rows = [row, row];
  let columns = [column, column];
  for (let i = index; i >= 0; i--) {
    const layer = net.layers[i];
    if (layer.kind === "dense" || layer.kind === "rmsNorm") {
      return { top: 0, left: 0, bottom: net.crop - 1, right: net.crop - 1 };
    }
    const [height, width] = i ? net.layers[i - 1].output : [net.crop, net.crop];
    rows = window_(layer, rows, height);
    columns = window_(layer, columns, width);
  }
  return { top: rows[0], left: columns[0], bottom: rows[1], right: columns[1] };
}

/** The sum behind one value of a convolution or a locally connected layer.
 *
 * Returns {bias, value, maps: [{map, sum}], patch(map), kernel(map)}; the patches are k x k, row by row.
 */
export function convSum(model, index, values, input, row, column, channel) {
  const layer = model.net.layers[index];
  const read = before(model.net, values, input, index);
  const kernel = model.arrays[`${layer.name}/kernel`];
  const bias = model.arrays[`${layer.name}/bias`].values;
  const seen = kernel.shape[kernel.shape.length - 2];
  const made = kernel.shape[kernel.shape.length - 1];
  const tower = Math.floor(channel / made);
  const out = channel % made;
  const firstMap = seen < read.shape[2] ? tower * seen : 0;
  const area = layer.kernel * layer.kernel;
  const patch = new Float64Array(area * seen);
  gather(layer, read.values, read.shape, firstMap, seen, row, column, patch, 0, 1);
  const place = layer.kind === "local" ? row * layer.output[1] + column : tower;
  const weight = (i, map) => kernel.values[((place * area + i) * seen + map) * made + out];
  const maps = [];
  let value = bias[layer.kind === "local" ? place * made + out : channel];
  const itsBias = value;
  for (let map = 0; map < seen; map++) {
    let sum = 0;
    for (let i = 0; i < area; i++) sum += patch[i * seen + map] * weight(i, map);
    maps.push({ map: firstMap + map, sum });
    value += sum;
  }
  const each = (get) => Array.from({ length: area }, (_, i) => get(i));
  return {
    bias: itsBias,
    value,
    maps,
    patch: (map) => each((i) => patch[i * seen + map - firstMap]),
    kernel: (map) => each((i) => weight(i, map - firstMap)),
  };
}

/** The sum behind one unit of a fully connected layer: {bias, value, towers: [sum], inputs: [{...}]}.
 *
 * Each input has {tower, at: its place in what that tower reads, x, weight, product}.
 */
export function denseSum(model, index, values, input, unit) {
  const layer = model.net.layers[index];
  const read = before(model.net, values, input, index);
  const kernel = model.arrays[`${layer.name}/kernel`];
  const [towers, seen, made] = kernel.shape;
  const summed = layer.reads === "sum";
  const bias = model.arrays[`${layer.name}/bias`].values[unit];
  const inputs = [];
  const sums = [];
  let value = bias;
  for (let t = summed ? 0 : Math.floor(unit / made); t < (summed ? towers : Math.floor(unit / made) + 1); t++) {
    const part = denseInputs(layer, kernel.shape, read.values, read.shape, t);
    let sum = 0;
    for (let i = 0; i < seen; i++) {
      const weight = kernel.values[(t * seen + i) * made + (summed ? unit : unit % made)];
      const product = part[i] * weight;
      sum += product;
      inputs.push({ tower: t, at: i, x: part[i], weight, product });
    }
    sums.push(sum);
    value += sum;
  }
  return { bias, value, towers: sums, inputs };
}

/** The values that a normalisation over maps squares and sums: [{map, x}]. */
export function lrnValues(net, index, values, input, row, column, channel) {
  const layer = net.layers[index];
  const { values: x, shape } = before(net, values, input, index);
  const [first, behind] = lrnWindow(layer, shape[2], net.towers, channel);
  const at = (row * shape[1] + column) * shape[2];
  return Array.from({ length: behind - first }, (_, i) => ({ map: first + i, x: x[at + first + i] }));
}

/** The values of one map in a window, of a pool or a same-map normalisation: {values, columns, top, left}. */
export function windowValues(net, index, values, input, row, column, channel) {
  const layer = net.layers[index];
  const { values: x, shape } = before(net, values, input, index);
  const [top, bottom] = window_(layer, [row, row], shape[0]);
  const [left, right] = window_(layer, [column, column], shape[1]);
  const found = [];
  for (let i = top; i <= bottom; i++) {
    for (let j = left; j <= right; j++) found.push(x[(i * shape[1] + j) * shape[2] + channel]);
  }
  return { values: found, columns: right - left + 1, top, left };
}
