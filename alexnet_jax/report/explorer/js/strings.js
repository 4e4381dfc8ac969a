// The texts of the page, [English, Chinese]; {names} are filled in. Each lesson adds its own.

const STRINGS = {
  title: ["How a network sees", "网络怎样看图"],
  lead: [
    "Follow an image through a neural network of the kind of AlexNet, which won the ImageNet contest of 2012, number by number. Everything here is computed in this page, now; nothing is sent anywhere.",
    "跟着一张图片，一个数一个数地走过 AlexNet 式的神经网络（AlexNet 赢得了 2012 年的 ImageNet 比赛）。这里的一切都由本页当场算出，不向任何地方发送数据。",
  ],
  heroWords: [
    "This image now, {crop}×{crop} pixels, and what {layer} makes of it: {n} channels, each of one kernel that slid over the image. Look inside.",
    "现在的图片，{crop}×{crop} 像素，以及 {layer} 从中得到的 {n} 个通道：每个通道由一个滑过图片的卷积核得出。点此进去看看。",
  ],
  heroFlat: ["This image now, {crop}×{crop} pixels, and what the net says of it. Look inside.", "现在的图片，{crop}×{crop} 像素，以及网络的回答。点此进去看看。"],
  toReport: ["Report of this run", "本次运行的报告"],
  contents: ["Contents", "目录"],
  below: ["below 0", "小于 0"],
  zero: ["0", "0"],
  above: ["above 0", "大于 0"],
  motionOn: ["Motion: on", "动画：开"],
  motionOff: ["Motion: off", "动画：关"],
  about: [
    "After Krizhevsky, Sutskever and Hinton, ImageNet Classification with Deep Convolutional Neural Networks (2012). Photographs called china and flower come with scikit-learn: danielbuechele and vultilion on Flickr, CC BY 2.0.",
    "依据 Krizhevsky、Sutskever 与 Hinton《ImageNet Classification with Deep Convolutional Neural Networks》（2012）。名为 china 与 flower 的照片随 scikit-learn 提供：Flickr 作者 danielbuechele 与 vultilion，CC BY 2.0。",
  ],
  bias: ["Bias", "偏置"],
  hoverHint: ["Point at a cell, tap it, or use the arrow keys.", "指向、轻点一个格子，或用方向键。"],
  patch: ["patch", "小块"],
  kernelWord: ["kernel", "卷积核"],
  products: ["products", "乘积"],
  pause: ["Pause", "暂停"],
  travel: ["Let its values travel", "让数值走一遍"],
  travelStop: ["Stop", "停止"],
  tryThis: ["Try this", "试一试"],
  paintCell: ["change this pixel", "改变这个像素"],
  left: ["left", "向左"],
  right: ["right", "向右"],
  up: ["up", "向上"],
  down: ["down", "向下"],
  rounded: [
    "Shown are three digits; computed is with all of them.",
    "这里显示三位有效数字；计算用全部位数。",
  ],
};

/** Adds the words of a lesson. */
export const addStrings = (more) => Object.assign(STRINGS, more);

let column = 0;

/** 'en' or 'zh'. */
export function setLanguage(language) {
  column = language === "zh" ? 1 : 0;
}

export const language = () => (column ? "zh" : "en");

/** The text `key` in the present language. */
export function t(key, values = {}) {
  return STRINGS[key][column].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}
