// Lesson 4, a trained net: an image's way through it, layer by layer, and the sum behind every value.
import { $ } from "./dom.js";
import { Engine } from "./engine.js";
import { arraysOf } from "./net.js";
import { drawGuesses, drawScan, forgetScan, startAnswers } from "./net-answers.js";
import { buildDetail, detailParts, drawCell, drawDetail, look, place } from "./net-detail.js";
import { buildFigure, drawFigure, figureParts, letFlow } from "./net-figure.js";
import { startGallery } from "./net-gallery.js";
import { centre, openImage, openPixels, startImage } from "./net-image.js";
import { drawHero } from "./hero.js";
import { photographAgain } from "./kernel-photograph.js";
import { drawInput } from "./net-input.js";
import { drawLighting, startLighting } from "./net-lighting.js";
import { isFlat, netPage } from "./net-page.js";
import { startSeeks } from "./net-seeks.js";
import { STRINGS } from "./net-strings.js";
import { addStrings, t } from "./strings.js";

addStrings(STRINGS);

let busy = false, again = false;

/** Loads the net and shows `image`, `layer` and `channel`, where they exist. */
export function startNet(data, { image = 0, ...where }) {
  const { net } = data;
  netPage.net = net;
  netPage.view = { top: centre(), left: centre(), flip: false, cover: null };
  place({ layer: net.layers[0].name });
  place(where);
  netPage.engine = new Engine($("worker").textContent);
  startImage(data.pictures, compute);
  startAnswers();
  startLighting();
  buildDetail();
  startSeeks(data.sought, openPatch);
  startGallery(lookAtKernel, (row, column) => {
    Object.assign(netPage, { row, column });
    drawCell();
  });
  netPage.engine
    .ask({ kind: "load", net, places: data.places, base64: $("numbers").textContent })
    .then(({ numbers }) => {
      netPage.model = { net, arrays: arraysOf(numbers, data.places) };
      return openImage(data.pictures[image] ? image : 0);
    })
    .catch((error) => ($("picture-error").textContent = String(error)));
}

/** Runs the net on an image of `pixels` and looks at a value of it. */
function openPatch(pixels, { row, column, ...where }) {
  place(where);
  Object.assign(netPage, { row, column });
  openPixels(pixels);
}

/** Looks at a value of the first layer. */
function lookAtKernel(channel, row, column) {
  place({ layer: netPage.net.layers[0].name, channel });
  Object.assign(netPage, { row, column });
  drawDetail();
  netPage.moved();
  setTimeout(drawFigure); // a turn of its own: the choice shows at once
}

/** Goes to an image, a layer and a channel of the page's address. */
export function visit({ image, ...where }) {
  if (!netPage.values) return;
  place(where);
  if (netPage.pictures[image] && image !== netPage.image) openImage(image);
  else drawNet();
}

/** Runs the net on the present view; while it runs, only the last wish is kept. */
async function compute() {
  if (busy || !netPage.pixels) {
    again = busy;
    return;
  }
  busy = true;
  forgetScan();
  try {
    do {
      again = false;
      const { pixels, view } = netPage;
      Object.assign(netPage, await netPage.engine.ask({ kind: "run", pixels, view }));
      await drawValues();
      letFlow();
      netPage.runs += 1;
      netPage.moved();
    } while (again);
  } catch (error) {
    $("picture-error").textContent = String(error);
  }
  busy = false;
}

function* valueParts() {
  drawGuesses();
  yield;
  drawHero();
  yield;
  photographAgain();
  yield;
  drawInput();
  yield;
  drawLighting();
  yield;
  yield* figureParts();
  yield* detailParts();
}

const TURN = 8; // milliseconds of drawing, then the page listens

/** Draws what a picture's values changed. */
async function drawValues() {
  let started = performance.now();
  for (const _ of valueParts()) {
    if (performance.now() - started < TURN) continue;
    await new Promise((resolve) => setTimeout(resolve));
    started = performance.now();
  }
}

/** Draws all of it, in the present language and colours. */
export function drawNet() {
  const { net } = netPage;
  const part = net.parameters < net.allParameters;
  const says = {
    name: net.name, step: net.step, parameters: net.parameters.toLocaleString("en"), all: net.allParameters.toLocaleString("en"),
    last: net.layers[net.layers.length - 1].name, crop: net.crop, counted: t(net.towers > 1 ? "countedTowers" : "counted"),
  };
  const made = t(net.step ? "netTrained" : "netConverted", says);
  $("net-about").textContent = `${made} ${t(part ? "netPart" : "netWhole", says)}`;
  const units = net.layers.some(isFlat) ? t("layersUnits") : "";
  $("layers-text").textContent = `${t(net.towers > 1 ? "layersText" : "layersTextOne")} ${units}`;
  $("tools").setAttribute("aria-label", t("toolGroup"));
  $("guesses-title").textContent = t(net.hasClasses ? "guesses" : "strongest");
  $("with-classes").hidden = !net.hasClasses;
  buildFigure(look);
  if (!netPage.values) return;
  drawValues();
  drawScan();
}
