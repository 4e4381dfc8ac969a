// The chain rule for one weight of the hidden layer, drawn with the numbers of one step.
import { $, make, makeSvg, show, summands } from "./dom.js";
import { t } from "./strings.js";

/** Draws the way from a pixel over a unit to the ten errors, and back. */
export function drawChain(chain) {
  const { found, net, unit, weight, x } = chain;
  const drawing = $("chain");
  const narrow = innerWidth < 700;
  const [width, pixelX, unitX, endX] = narrow ? [340, 40, 150, 232] : [720, 60, 270, 480];
  drawing.setAttribute("viewBox", `0 0 ${width} 300`);
  const middle = 150;
  const text = (at, y, words, more = {}) => makeSvg("text", { x: at, y, "text-anchor": "middle", ...more }, words);
  const line = (x1, y1, x2, y2, value, most) => makeSvg("line", {
    x1, y1, x2, y2, class: value < 0 ? "below" : "above", "stroke-width": 0.75 + (5 * Math.abs(value)) / most,
  });
  const own = Array.from({ length: net.answers }, (_, o) => net.output[o * net.units + unit]);
  const most = Math.max(1e-9, ...own.map(Math.abs));
  const parts = [line(pixelX, middle, unitX, middle, weight, Math.max(Math.abs(weight), 0.2))];
  own.forEach((w, o) => parts.push(line(unitX, middle, endX, 20 + o * 29, w, most)));
  parts.push(
    makeSvg("circle", { cx: pixelX, cy: middle, r: 30, class: "cell" }),
    text(pixelX, middle + 5, show(x)),
    text(pixelX, middle + 52, t("chainPixel", { row: chain.row, column: chain.column })),
    text((pixelX + unitX) / 2, middle - 12, show(weight)),
    makeSvg("circle", { cx: unitX, cy: middle, r: 34, class: "cell" }),
    text(unitX, middle + 5, show(found.hidden[unit])),
    text(unitX, middle + 56, t("unit", { n: unit })),
  );
  const worst = Math.max(1e-9, ...found.errors.map(Math.abs));
  own.forEach((_, o) => {
    const y = 20 + o * 29;
    const error = found.errors[o];
    const bar = (Math.abs(error) / worst) * (narrow ? 28 : 60);
    parts.push(
      makeSvg("circle", { cx: endX, cy: y, r: 12, class: o === chain.target ? "cell fires" : "cell" }),
      text(endX, y + 5, String(o)),
      makeSvg("rect", { x: endX + (narrow ? 18 : 20), y: y - 7, width: bar, height: 14, class: error < 0 ? "below" : "above" }),
      text(endX + (narrow ? 80 : 165), y + 5, narrow ? show(round(error)) : `${show(round(found.outputs[o]))} − ${o === chain.target ? 1 : 0} = ${show(round(error))}`),
    );
  });
  drawing.replaceChildren(...parts);
  drawing.setAttribute("aria-label", $("chain-title").textContent);
  writeChain(chain);
}

const round = (value) => +value.toFixed(3);

function chip(value, words, kind = "") {
  return make("span", { class: `chip ${kind}` }, make("b", {}, value), make("small", {}, words));
}

function writeChain(chain) {
  const { found, unit, x, own, slope, rate, weight, now, count, made } = chain;
  const h = found.hidden[unit];
  const sign = (character) => make("span", { class: "sign" }, character);
  $("chain-sum").replaceChildren(
    chip(show(x), t("chainPixelWord")), sign("×"),
    chip(show(found.slopes[unit]), t("chainSigmoid", { h: show(h) })), sign("×"),
    chip(show(found.back[unit]), t("chainErrors")), sign("="),
    chip(show(own), t("chainSlope"), "strong"),
  );
  const { terms, total } = summands([weight, -rate * slope], now, Math.min(Math.abs(rate * slope), Math.abs(now)));
  $("chain-move").replaceChildren(
    chip(terms[0], t(made ? "chainWas" : "chainIs")), sign("+"),
    chip(terms[1], t(count > 1 ? "chainMoveMean" : "chainMove", { rate: show(rate), slope: show(slope), n: count })), sign("="),
    chip(total, t(made ? "nowWord" : "wouldBe"), "strong"),
  );
  const key = made ? (chain.drawn && count === 1 ? "chainMadeDrawn" : "chainMade") : "chainNext";
  $("chain-words").textContent = `${t(key, { target: chain.target, n: count })} ${x === 0 ? t("chainZero") : ""}`;
}
