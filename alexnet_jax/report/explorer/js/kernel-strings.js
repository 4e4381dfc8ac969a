// The words of the lesson "One kernel".

export const STRINGS = {
  kernelTitle: ["One kernel", "一个卷积核"],
  kernelText: [
    "A convolution is one such neuron that looks at a small patch, and is moved over the whole image with the same weights, its kernel. What it says at each position makes a feature map.",
    "卷积就是这样一个神经元：它只看一小块，用同一组权重（卷积核）走遍整张图片。它在每一处的回答排成一张特征图。",
  ],
  smallPicture: ["An image of 9×9", "9×9 的图片"],
  shape: ["Shape", "形状"],
  shapeSquare: ["a square", "方块"],
  shapeRing: ["a ring", "圆环"],
  shapeCross: ["a cross", "十字"],
  shapeSlope: ["dark to light", "由暗到亮"],
  shapeOne: ["a one", "数字 1"],
  shapeOwn: ["your own", "自己画"],
  paintHint: ["Click a pixel, or go there with the arrow keys and press Enter: 0, 0.5, 1.", "点一个像素，或用方向键走到那里按回车：0、0.5、1。"],
  theKernel: ["The kernel of 3×3", "3×3 的卷积核"],
  preset: ["Finds", "用途"],
  presetVertical: ["vertical edges", "竖直边缘"],
  presetHorizontal: ["horizontal edges", "水平边缘"],
  presetOutline: ["outlines", "轮廓"],
  presetSharpen: ["sharpens", "锐化"],
  presetBlur: ["blurs", "模糊"],
  presetOwn: ["your own numbers", "自己的数"],
  withRelu: ["ReLU: what is below 0 becomes 0", "ReLU：小于 0 的变成 0"],
  featureMap: ["Its feature map", "它的特征图"],
  sizes: ["{n}×{n} under {k}×{k}: {n} − {k} + 1 = {m}, so {m}×{m}", "{n}×{n} 经过 {k}×{k}：{n} − {k} + 1 = {m}，得 {m}×{m}"],
  kernelWords: [
    "Row {row}, column {column} of the feature map is {value}. It sees rows {row} to {bottom} and columns {column} to {right} of the image. All are counted from 0.",
    "特征图的行 {row}、列 {column} 是 {value}。它看到图片的第 {row} 到 {bottom} 行、第 {column} 到 {right} 列。都从 0 数起。",
  ],
  painted: [
    "Pixel in row {row}, column {column}: {value}",
    "行 {row}、列 {column} 的像素：{value}",
  ],
  kernelCell: [
    "kernel, row {row}, column {column}",
    "卷积核，行 {row}、列 {column}",
  ],
  tryKernel: [
    "Choose dark to light and the kernel that finds vertical edges: why is every value the same? Then make the nine numbers your own so that only the top end of the one lights up.",
    "选“由暗到亮”和找竖直边缘的核：为什么每个值都一样？再自己填九个数，只让数字 1 的顶端亮起来。",
  ],
  slide: [
    "Let the kernel slide",
    "让卷积核滑动",
  ],
  oneValue: ["How one value is made", "一个值怎样得来"],
  sumWord: ["sum", "和"],
  sumAndBias: ["sum + bias", "和 + 偏置"],
  kernelRests: [
    "The way of the values, without motion: the nine framed pixels of the image make the patch; each, times the kernel's number at the same place, makes a product; the products are added, and the sum goes into the framed cell of the feature map.",
    "数值怎么走（动画已关）：图片框内的九个像素成为小块；每个乘以卷积核里同一位置的数，得到乘积；乘积相加，和放进特征图里框住的格子。",
  ],
  samePhotograph: ["The same kernel over the image of lesson 4", "同一个核，走过第 4 课的图片"],
  greyImage: ["in grey, {n}×{n}", "灰度，{n}×{n}"],
  greyFound: ["its feature map, {n}×{n}", "它的特征图，{n}×{n}"],
};
