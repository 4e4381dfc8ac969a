// The sum behind a value, for each kind of layer.
import { $, bar, make, numberTable, percent, show, summands, term } from "./dom.js";
import { image, largest, paint, sized } from "./draw.js";
import { rootMeanSquare } from "./net.js";
import { best, isAnswer, nameOf, netPage } from "./net-page.js";
import { before, convSum, denseSum, lrnValues, windowValues } from "./why.js";
import { t } from "./strings.js";

const line = (...parts) => make("p", { class: "sum" }, ...parts);
const inputName = (index, channel) =>
  index ? t("mapName", { n: channel }) : t(netPage.net.channels === 1 ? "greyMap" : ["redMap", "greenMap", "blueMap"][channel]);

/** By the kind of layer: (layer, value, at) to elements. */
export const WHY = {
  conv(layer, value) {
    const { layer: index, row, column, map: channel } = netPage;
    const sum = convSum(netPage.model, index, netPage.values, netPage.input, row, column, channel);
    const order = [...sum.maps].sort((a, b) => Math.abs(b.sum) - Math.abs(a.sum));
    const shown = order.find((m) => m.map === netPage.inputMap) || order[0];
    const top = order.slice(0, 6);
    if (!top.includes(shown)) top.push(shown);
    const rest = sum.maps.reduce((total, m) => total + m.sum, 0) - top.reduce((total, m) => total + m.sum, 0);
    const most = Math.max(1e-12, ...top.map((m) => Math.abs(m.sum)));
    const bars = make("ol", { class: "bars pick" }, ...top.map((m) => {
      const item = bar(`${inputName(index, m.map)}  ${show(m.sum)}`, Math.abs(m.sum) / most, m.sum < 0);
      const button = make("button", { type: "button", "aria-pressed": String(m === shown) }, ...item.childNodes);
      button.addEventListener("click", () => {
        netPage.inputMap = m.map;
        drawCell();
        $("why").querySelector('[aria-pressed="true"]').focus();
      });
      item.replaceChildren(button);
      return item;
    }));
    const patch = sum.patch(shown.map);
    const kernel = sum.kernel(shown.map);
    const products = patch.map((x, i) => x * kernel[i]);
    const others = sum.maps.length > top.length;
    const { terms, total } = summands([...top.map((m) => m.sum), sum.bias, ...(others ? [rest] : [])], value);
    const restWords = others ? ` + ${terms[top.length + 1]} ${t("theRest", { n: sum.maps.length - top.length })}` : "";
    return [
      make("h4", {}, t("whyConv", { n: layer.kernel * layer.kernel * sum.maps.length, k: layer.kernel, maps: sum.maps.length })),
      line(`${terms.slice(0, top.length).join(" + ")}${restWords} + ${terms[top.length]} ${t("biasWord")} = ${total}`),
      make("div", { class: "columns" },
        make("div", {}, bars),
        make("div", { class: "working" },
          block(patch, layer.kernel, `${t("patch")}: ${inputName(index, shown.map)}`), make("span", {}, "×"),
          block(kernel, layer.kernel, t("kernelWord")), make("span", {}, "="),
          block(products, layer.kernel, `${t("products")}: ${show(shown.sum)}`))),
    ];
  },

  local(layer, value, at) {
    return [...WHY.conv(layer, value, at), make("p", {}, t("localOwn"))];
  },

  dense(layer, value) {
    const sum = denseSum(netPage.model, netPage.layer, netPage.values, netPage.input, netPage.map);
    const top = [...sum.inputs].sort((a, b) => Math.abs(b.product) - Math.abs(a.product)).slice(0, 8);
    const most = Math.max(1e-12, Math.abs(top[0].product));
    const towers = layer.reads === "sum" && netPage.net.towers > 1;
    const { terms, total } = summands([...(towers ? sum.towers : [sum.value - sum.bias]), sum.bias], value);
    const parts = terms.slice(0, -1).map((text, n) => (towers ? `${text} ${t("fromTower", { n })}` : text));
    const says = (i) => `${towers ? t("tower", { n: i.tower }) + " " : ""}${t("inputName", { n: i.at })}: ${show(i.x)} × ${term(i.weight)} = ${show(i.product)}`;
    return [
      make("h4", {}, t("whyDense", { n: sum.inputs.length })),
      line(`${parts.join(" + ")} + ${terms[terms.length - 1]} ${t("biasWord")} = ${total}`),
      make("p", {}, t("weightiest")),
      make("ol", { class: "bars" }, ...top.map((i) => bar(says(i), Math.abs(i.product) / most, i.product < 0))),
      ...(isAnswer(layer) ? softmaxTable(layer) : []),
    ];
  },

  activation(layer, value, at) {
    const x = before(netPage.net, netPage.values, netPage.input, netPage.layer).values[at];
    const form = { relu: `max(0, ${show(x)})`, tanh: `tanh(${show(x)})`, sigmoid: `1 / (1 + exp(−${term(x)}))` }[layer.how];
    return [line(`${form} = ${show(value)}`)];
  },

  lrn(layer, value) {
    const { layer: index, row, column, map: channel } = netPage;
    const found = lrnValues(netPage.net, index, netPage.values, netPage.input, row, column, channel);
    const sum = found.reduce((total, { x }) => total + x * x, 0);
    const own = found.find(({ map: m }) => m === channel).x;
    const base = layer.k + layer.alpha * sum;
    const table = numberTable(found.map(({ x }) => x), found.length, paint, {
      mark: found.findIndex(({ map: m }) => m === channel),
      caption: t("lrnMaps", { from: found[0].map, to: found[found.length - 1].map }),
    });
    return [
      make("div", { class: "working" }, table),
      line(`${t("squares")}: ${found.map(({ x }) => `${term(x)}²`).join(" + ")} = ${show(sum)}`),
      line(`${show(own)} / (${show(layer.k)} + ${show(layer.alpha)} × ${show(sum)})^${show(layer.beta)} = ${show(own)} / ${show(base ** layer.beta)} = ${show(value)}`),
    ];
  },

  sameMapLrn(layer, value) {
    const { layer: index, row, column, map: channel } = netPage;
    const { values, columns, top, left } = windowValues(netPage.net, index, netPage.values, netPage.input, row, column, channel);
    const sum = values.reduce((total, x) => total + x * x, 0);
    const mark = (row - top) * columns + column - left;
    return [
      make("div", { class: "working" }, numberTable(values, columns, paint, { mark, caption: t("window") })),
      line(`${t("squares")}: ${show(sum)}`),
      line(`${show(values[mark])} / (${show(layer.k)} + ${show(layer.alpha)} × ${show(sum)})^${show(layer.beta)} = ${show(value)}`),
    ];
  },

  rmsNorm(layer, value, at) {
    const x = before(netPage.net, netPage.values, netPage.input, netPage.layer).values;
    return [line(`${show(x[at])} / ${show(rootMeanSquare(x))} = ${show(value)}`)];
  },

  pool(layer, value) {
    const { layer: index, row, column, map: channel } = netPage;
    const { values, columns } = windowValues(netPage.net, index, netPage.values, netPage.input, row, column, channel);
    const max = layer.how === "max";
    const mark = max ? values.indexOf(Math.max(...values)) : -1;
    const sum = values.reduce((a, b) => a + b, 0);
    return [
      make("div", { class: "working" }, numberTable(values, columns, paint, { mark, caption: t("window") })),
      line(max ? `${t("largest")} = ${show(value)}` : `${show(sum)} / ${values.length} = ${show(value)}`),
      ...(max && layer.size > layer.stride ? poolBeside(layer) : []),
    ];
  },

  adaptivePool(layer, value) {
    return WHY.pool({ ...layer, how: "average" }, value);
  },

  dropout(layer, value, at) {
    const x = before(netPage.net, netPage.values, netPage.input, netPage.layer).values[at];
    const mask = netPage.masks[layer.name];
    const used = layer.inverted ? x : x * (1 - layer.rate);
    const lines = [line(`${t("atUse")}: ${show(x)}${layer.inverted ? "" : ` × ${show(1 - layer.rate)}`} = ${show(used)}`)];
    if (mask) {
      const kept = mask.reduce((a, b) => a + b, 0);
      lines.push(line(`${t("inTraining")}: ${show(x)} → ${show(value)} (${t(mask[at] ? "isKept" : "isZeroed")})`));
      lines.push(make("p", {}, t("maskWords", { kept, of: mask.length })));
    }
    return lines;
  },
};

/** This channel pooled with windows that overlap, as the net does, beside windows that do not. */
function poolBeside(layer) {
  const { layer: index, row, column, map: channel } = netPage;
  const { values, shape } = before(netPage.net, netPage.values, netPage.input, index);
  const [height, width, channels] = shape;
  const at = (r, c) => values[(r * width + c) * channels + channel];
  const pooled = (size, [rows, columns]) => Array.from({ length: rows * columns }, (_, i) => {
    const [top, left] = [Math.floor(i / columns) * layer.stride, (i % columns) * layer.stride];
    let most = -Infinity;
    for (let r = top; r < Math.min(height, top + size); r++) {
      for (let c = left; c < Math.min(width, left + size); c++) most = Math.max(most, at(r, c));
    }
    return most;
  });
  const sides = (size) => [height, width].map((length) => Math.floor((length - size) / layer.stride) + 1);
  const [own, plain] = [layer.output.slice(0, 2), sides(layer.stride)];
  // How many windows hold the largest value of the present one.
  const window = windowValues(netPage.net, index, netPage.values, netPage.input, row, column, channel);
  const place = window.values.indexOf(Math.max(...window.values));
  const [top, left] = [window.top + Math.floor(place / window.columns), window.left + (place % window.columns)];
  const holding = (size, [rows, columns]) => [[top, rows], [left, columns]].reduce((all, [position, count]) =>
    all * Array.from({ length: count }, (_, i) => i * layer.stride).filter((start) => start <= position && position < start + size).length, 1);
  const drawing = (size, [rows, columns]) =>
    mapFigure(pooled(size, [rows, columns]), columns, `${size}×${size}, ${t("everyStride", { s: layer.stride })}: ${rows}×${columns}`);
  return [
    make("h4", {}, t("poolTitle")),
    make("div", { class: "columns" }, make("div", { class: "working" }, drawing(layer.size, own), drawing(layer.stride, plain)),
      make("p", {}, t("poolWords", { size: layer.size, stride: layer.stride, own: holding(layer.size, own), plain: holding(layer.stride, plain) }))),
  ];
}

function mapFigure(values, columns, caption) {
  const canvas = make("canvas", { role: "img", "aria-label": caption });
  const rows = values.length / columns;
  const side = Math.max(2, Math.floor(140 / Math.max(columns, rows)));
  const most = largest(values);
  sized(canvas, columns * side, rows * side).drawImage(image(rows, columns, (r, c) => values[r * columns + c] / most), 0, 0, columns * side, rows * side);
  return make("figure", {}, make("figcaption", {}, caption), canvas);
}

const SOFTMAX_ROWS = 10;

/** The way from the last layer's sums to percent, row by row, the likeliest classes first. */
function softmaxTable(layer) {
  const logits = netPage.values[layer.name];
  const { prob } = netPage.values;
  const order = best(logits, logits.length);
  const top = logits[order[0]];
  const powers = Float64Array.from(logits, (z) => Math.exp(z - top));
  const total = powers.reduce((a, b) => a + b, 0);
  const row = (name, ...cells) => make("tr", {}, make("th", { scope: "row" }, name), ...cells.map((text) => make("td", {}, text)));
  const rows = order.slice(0, SOFTMAX_ROWS).map((label) =>
    row(nameOf(label), show(logits[label]), `${show(logits[label] - top)}`, show(powers[label]), `${show(powers[label])} / ${show(total)}`, percent(prob[label])));
  const rest = order.slice(SOFTMAX_ROWS);
  const sum = (values) => rest.reduce((all, label) => all + values[label], 0);
  if (rest.length) rows.push(row(t("softmaxOthers", { n: rest.length }), "", "", show(sum(powers)), `${show(sum(powers))} / ${show(total)}`, percent(sum(prob))));
  rows.push(row(t("softmaxTotal"), "", "", show(total), "", percent(1)));
  const head = [t("softmaxClass"), "z", "z − max", "exp(z − max)", "÷", "%"];
  return [
    make("h4", {}, t("softmaxTitle")),
    make("p", {}, t("softmaxText", { n: logits.length })),
    make("div", { class: "scroll" }, make("table", { class: "moves" },
      make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col" }, text)))), make("tbody", {}, ...rows))),
  ];
}

/** k x k numbers: as numbers where there is room, else as colours. */
function block(values, columns, caption) {
  if (columns <= 5) return numberTable(values, columns, paint, { caption });
  const canvas = make("canvas", { role: "img", "aria-label": caption });
  const side = Math.floor(132 / columns);
  const context = sized(canvas, columns * side, columns * side);
  const most = largest(values);
  context.drawImage(image(columns, columns, (r, c) => values[r * columns + c] / most), 0, 0, columns * side, columns * side);
  return make("figure", {}, make("figcaption", {}, caption), canvas);
}
