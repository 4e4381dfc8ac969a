// What the lesson on the trained net knows: the net, the image, what the user looks at.
import { before } from "./why.js";
import { t } from "./strings.js";

export const netPage = {
  layer: 0, // index of the layer looked at
  tower: 0, // its tower; -1: a layer that has none
  map: 0, // its map, or unit
  row: 0,
  column: 0,
  inputMap: -1, // of the map before it whose patch is shown; -1: the weightiest
  tool: "move",
  masks: {}, // what a draw of dropout keeps, by layer
  runs: 0, // pictures computed
  values: null,
  image: -1, // which of the page's own images it is; -1: another
  moved: () => {}, // called when the layer, the channel or the image is another
};

export const isFlat = (layer) => layer.output.length === 1;
/** Whether a layer's values are the logits of classes. */
export const isAnswer = (layer) => netPage.net.hasClasses && layer === netPage.net.layers[netPage.net.layers.length - 1];
/** A layer's name; an activation that is no ReLU is not called one. */
export const layerName = (layer) => (layer.kind === "activation" ? layer.name.replace(/^relu/, layer.how) : layer.name);
export const present = () => netPage.net.layers[netPage.layer];

// Set apart, so that a name written from right to left turns nothing around it.
export const nameOf = (label) => `\u2068${netPage.net.classNames[label] || t("class", { n: label })}\u2069`;

/** The positions of the largest values, largest first. */
export function best(values, count) {
  return [...values.keys()].sort((a, b) => values[b] - values[a]).slice(0, count);
}

/** Channels [first, behind the last] of a layer that tower `tower` holds. */
export function share(layer, tower) {
  const channels = layer.output[layer.output.length - 1];
  if (tower < 0) return [0, channels];
  return [(tower * channels) / netPage.net.towers, ((tower + 1) * channels) / netPage.net.towers];
}

/** A layer's values as they are shown: after a draw of dropout those that it keeps. */
export function shownValues(layer, index) {
  const mask = netPage.masks[layer.name];
  if (!mask) return netPage.values[layer.name];
  const { values } = before(netPage.net, netPage.values, netPage.input, index);
  return values.map((x, i) => (mask[i] ? (layer.inverted ? x / (1 - layer.rate) : x) : 0));
}
