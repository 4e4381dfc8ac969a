// What the net answers: its guesses, the mean of ten views, and which part of the image the answer hangs on.
import { $, bar, percent, show } from "./dom.js";
import { image, pictureImage } from "./draw.js";
import { Cells } from "./cells.js";
import { best, nameOf, netPage } from "./net-page.js";
import { t } from "./strings.js";

let scanCells;

export function startAnswers() {
  scanCells = new Cells($("scan-map"), { moved: drawScan });
  $("ten").addEventListener("click", averageViews);
  $("scan").addEventListener("click", scan);
}

async function averageViews() {
  const views = netPage.net.tenViews.map(([top, left, flip]) => ({ top, left, flip, cover: null }));
  $("ten-words").textContent = t("working");
  const { prob } = await netPage.engine.ask({ kind: "average", pixels: netPage.pixels, views });
  netPage.ten = prob;
  const guesses = best(prob, 3).map((label) => `${nameOf(label)} ${percent(prob[label])}`);
  $("ten-words").textContent = t("tenWords", { guesses: guesses.join(", ") });
}

const SCAN = 9;

async function scan() {
  const { pixels, view, coverSide: side } = netPage;
  const plain = { ...view, cover: null };
  $("scan-words").textContent = t("working");
  const places = Array.from({ length: SCAN }, (_, i) => Math.round((i * (netPage.net.crop - side)) / (SCAN - 1)));
  const { values } = await netPage.engine.ask({ kind: "run", pixels, view: plain });
  const [label] = best(values.prob, 1);
  const { result, margins } = await netPage.engine.ask({ kind: "scan", pixels, view: plain, label, side, places });
  if (!result) return;
  if (view !== netPage.view || pixels !== netPage.pixels) {
    $("scan-words").textContent = ""; // of another picture by now
    return;
  }
  netPage.scan = { result, margins, label, plain: values.prob[label], cut: netPage.cut };
  const worst = margins.indexOf(Math.min(...margins));
  scanCells.cell = [Math.floor(worst / SCAN), worst % SCAN];
  $("scan-map").hidden = false;
  drawScan();
}

/** Over the image: how far the answer's lead over all others falls, to the largest fall's own scale. */
export function drawScan() {
  if (!netPage.scan) return;
  const { result, margins, label, plain, cut } = netPage.scan;
  const side = Math.floor(Math.min(270, innerWidth - 80) / SCAN);
  const lead = Math.max(...margins);
  const most = Math.max(lead - Math.min(...margins), 1e-12);
  scanCells.draw(SCAN, SCAN, side, (context, cell) => {
    const whole = SCAN * cell;
    context.drawImage(pictureImage(cut, netPage.net.crop, netPage.net.channels), 0, 0, whole, whole);
    context.globalAlpha = 0.6;
    context.drawImage(image(SCAN, SCAN, (r, c) => (lead - margins[r * SCAN + c]) / most), 0, 0, whole, whole);
    context.globalAlpha = 1;
  });
  const [row, column] = scanCells.cell;
  const lowest = Math.min(...result);
  const says = {
    name: nameOf(label), plain: percent(plain), covered: percent(result[row * SCAN + column]), row, column, of: SCAN - 1,
    lowest: percent(lowest),
  };
  $("scan-words").textContent = `${t("scanWords", says)} ${plain - lowest < 0.01 ? t("scanSure", says) : ""}`;
  $("scan-map").setAttribute("aria-label", t("scan"));
}

export function forgetScan() {
  netPage.scan = null;
  $("scan-map").hidden = true;
  $("scan-words").textContent = $("ten-words").textContent = "";
}

/** The right answer, of the page's own images, and whether the net's is right. */
function drawTruth() {
  const { pictures, image: number, net, values } = netPage;
  const label = net.hasClasses && number >= 0 ? net.classNames.indexOf(pictures[number].name) : -1;
  $("truth").hidden = label < 0;
  if (label < 0) return;
  const right = best(values.prob, 1)[0] === label;
  $("truth").className = right ? "truth right" : "truth wrong";
  $("truth").textContent = t(right ? "truthRight" : "truthWrong", { name: nameOf(label), p: percent(values.prob[label]) });
}

export function drawGuesses() {
  const list = $("guesses");
  let words;
  if (netPage.net.hasClasses) {
    const { prob } = netPage.values;
    const labels = best(prob, 5);
    list.replaceChildren(...labels.map((label) => bar(`${nameOf(label)}  ${percent(prob[label])}`, prob[label])));
    words = t("guessWords", { name: nameOf(labels[0]), p: percent(prob[labels[0]]) });
  } else {
    const last = netPage.net.layers[netPage.net.layers.length - 1];
    const channels = last.output[last.output.length - 1];
    const means = new Float64Array(channels);
    netPage.values[last.name].forEach((x, i) => (means[i % channels] += x / (netPage.values[last.name].length / channels)));
    const order = best(means, 5);
    list.replaceChildren(...order.map((c) => bar(`${t("mapName", { n: c })}  ${show(means[c])}`, means[c] / (means[order[0]] || 1))));
    words = t("strongestWords", { layer: last.name, map: order[0] });
  }
  $("guesses-words").textContent = words;
  drawTruth();
  const { cover, flip } = netPage.view;
  const view = [cover && t("isCovered"), flip && t("isFlipped")].filter(Boolean).join(" ");
  const macs = netPage.net.layers.reduce((sum, l) => sum + l.macs, 0);
  $("timing").textContent = `${view} ${t("timing", { ms: Math.round(netPage.milliseconds), macs: macs.toLocaleString("en") })}`;
}

