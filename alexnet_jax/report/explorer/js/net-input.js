// What the net reads: the image minus the mean of the images that it was trained on.
import { $, roomIn, show, summands, term } from "./dom.js";
import { image, largest, pictureImage, sized } from "./draw.js";
import { netPage } from "./net-page.js";
import { receptiveField } from "./why.js";
import { t } from "./strings.js";

/** Draws image, mean and difference. */
export function drawInput() {
  const { net, cut, input } = netPage;
  const { crop, channels } = net;
  const { std } = net.input;
  const side = Math.min(190, Math.floor((roomIn($("input-sum").parentElement) - 70) / 3));
  const mean = Uint8Array.from(input, (x, i) => cut[i] - x * std[(i % channels) % std.length]);
  const most = largest(input);
  const average = (r, c) => {
    let sum = 0;
    for (let i = 0; i < channels; i++) sum += input[(r * crop + c) * channels + i];
    return sum / channels / most;
  };
  // One after the other: what is drawn from is the same canvas each time.
  const drawn = {
    "input-cut": () => pictureImage(cut, crop, channels), "input-mean": () => pictureImage(mean, crop, channels),
    "input-rest": () => image(crop, crop, average),
  };
  for (const [id, picture] of Object.entries(drawn)) {
    sized($(id), side, side).drawImage(picture(), 0, 0, side, side);
    $(id).setAttribute("aria-label", $(`${id}-name`).textContent);
  }
}

/** Writes the sum for one pixel, the middle of the frame. */
export function sayInput({ top, bottom, left, right }) {
  const { net, cut, input } = netPage;
  const std = net.input.std[0];
  const [row, column] = [(top + bottom) >> 1, (left + right) >> 1];
  const at = (row * net.crop + column) * net.channels;
  const rest = input[at] * std;
  const { terms, total } = summands([cut[at], rest - cut[at]], rest);
  const minus = net.input.form === "none" ? show(cut[at]) : `${terms[0]} + ${terms[1]} = ${total}`;
  $("input-sum").textContent = std === 1 ? minus : `${minus};  ${term(rest)} / ${show(std)} = ${show(input[at])}`;
  const colour = t(net.channels === 1 ? "greyMap" : "redMap");
  $("input-words").textContent = t(net.input.form === "none" ? "inputNone" : "inputWords", { row, column, colour });
}
