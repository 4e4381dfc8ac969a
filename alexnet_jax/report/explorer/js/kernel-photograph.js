// The small lesson's kernel over the image that the trained net looks at.
import { $, roomIn } from "./dom.js";
import { image, largest, pictureImage, sized } from "./draw.js";
import { netPage } from "./net-page.js";
import { t } from "./strings.js";

const MOST = 260; // pixels of each of the two
let last = null; // the kernel drawn last: [kernel, bias, relu]

/** Draws the image in grey, and what a kernel of 3 x 3 makes of it. */
export function drawPhotograph(kernel, bias, relu) {
  last = [kernel, bias, relu];
  const { cut, net } = netPage;
  $("kernel-photograph").hidden = !cut;
  if (!cut) return;
  const { crop, channels } = net;
  const grey = Float32Array.from({ length: crop * crop }, (_, i) => meanOf(cut, i * channels, channels) / 255);
  const out = crop - 2;
  const found = new Float32Array(out * out);
  for (let at = 0; at < found.length; at++) {
    const corner = Math.floor(at / out) * crop + (at % out);
    let sum = bias;
    for (let i = 0; i < 9; i++) sum += grey[corner + Math.floor(i / 3) * crop + (i % 3)] * kernel[i];
    found[at] = relu ? Math.max(0, sum) : sum;
  }
  const side = Math.min(MOST, Math.floor((roomIn($("kernel-photograph")) - 44) / 2));
  const most = largest(found);
  sized($("kernel-grey"), side, side).drawImage(pictureImage(grey.map((x) => 255 * x), crop, 1), 0, 0, side, side);
  sized($("kernel-found"), side, side).drawImage(image(out, out, (r, c) => found[r * out + c] / most), 0, 0, side, side);
  $("kernel-grey-name").textContent = t("greyImage", { n: crop });
  $("kernel-found-name").textContent = t("greyFound", { n: out });
  for (const name of ["kernel-grey", "kernel-found"]) $(name).setAttribute("aria-label", $(`${name}-name`).textContent);
  netPage.photograph = { grey, found };
}

/** The same kernel over another image. */
export const photographAgain = () => last && drawPhotograph(...last);

function meanOf(values, from, count) {
  let sum = 0;
  for (let c = 0; c < count; c++) sum += values[from + c];
  return sum / count;
}
