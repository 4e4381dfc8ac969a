// The words of what a channel looks for, and of the gallery of kernels.

export const STRINGS = {
  seeksTitle: ["What channel {n} of {layer} looks for", "{layer} 的通道 {n} 在找什么"],
  toSeeks: ["What this channel looks for ↓", "这个通道在找什么 ↓"],
  seeksAbout: [
    "Its {count} strongest values among {images} training images, each of another image. Of each, from the top: the image, framed what the value sees; this patch; and what in the patch makes the value large, projected back to pixels through the net (a deconvnet, after Zeiler and Fergus; grey is nothing).",
    "它在 {images} 张训练图片里最强的 {count} 个值，每张图片只取一个。每列自上而下：图片，框内是这个值看到的部分；框里的小块；小块里使这个值变大的部分，经网络投影回像素（Zeiler 与 Fergus 的反卷积网络；灰色为零）。",
  ],
  seeksAboutPatches: [
    "Its {count} strongest values among {images} training images, each of another image. Of each the patch that the value sees, and below it what in the patch makes the value large, projected back to pixels through the net (a deconvnet, after Zeiler and Fergus; grey is nothing). The whole images are too large for this page.",
    "它在 {images} 张训练图片里最强的 {count} 个值，每张图片只取一个。上面是这个值看到的小块，下面是小块里使它变大的部分，经网络投影回像素（Zeiler 与 Fergus 的反卷积网络；灰色为零）。整张图片太大，本页没有收入。",
  ],
  seeksFirst: [
    "In the first layer what makes a value large is the kernel itself, so that these are alike.",
    "在第一层，使值变大的就是卷积核本身，所以它们都一样。",
  ],
  seeksClick: [
    "Choose one: the net above then runs on that image, and looks at that position.",
    "选一个：上面的网络就换成那张图片，并看着那个位置。",
  ],
  seeksFrom: [
    "This layer works on the channels of {layer}: these are the patches of that channel there.",
    "这一层处理 {layer} 的各个通道：这里是那个通道在 {layer} 的小块。",
  ],
  seeksSilent: [
    "Not one of these values is above 0: on all these images a ReLU after it would be silent.",
    "这些值没有一个大于 0：在所有这些图片上，其后的 ReLU 都不作声。",
  ],
  seeksMissing: [
    "This page was made where the images that the net was trained on were not at hand: it cannot show the patches that this channel answers to most strongly.",
    "制作本页的机器上没有训练这个网络的图片，所以无法显示这个通道反应最强的小块。",
  ],
  seeksPatch: [
    "Number {rank}: {value}, in an image of {name}, row {row}, column {column}",
    "第 {rank} 名：{value}，图片类别 {name}，行 {row}，列 {column}",
  ],
  galleryTitle: ["All kernels of the first layer", "第一层的全部卷积核"],
  galleryText: [
    "The {k}×{k} weights of each channel of {layer} as a small image, as in the paper's figure 3; each has its own scale, and middle grey is 0. Choose one: it, its feature map and the position where it answers most strongly to the present image are shown together. The line below each kernel is its answer at that position.",
    "把 {layer} 每个通道的 {k}×{k} 个权重画成一张小图，如论文的图 3；各自定标，中灰为 0。选一个：一起显示这个核、它的特征图，以及它对当前图片反应最强的位置。每个核下面的横线是它在该位置的值。",
  ],
  galleryTower: ["Tower {n}: channels {first} to {last}", "塔 {n}：通道 {first} 至 {last}"],
  galleryKernels: ["kernels", "卷积核"],
  kernelOfChannel: ["kernel of channel {n}", "通道 {n} 的卷积核"],
  kernelOfTower: ["kernel of channel {n}, tower {tower}", "塔 {tower}，通道 {n} 的卷积核"],
  galleryMap: ["its feature map on this image: point at a position", "它在这张图片上的特征图：指向一个位置"],
  gallerySees: ["what it sees there", "它在那里看到的"],
  galleryWords: [
    "Channel {n} at row {row}, column {column}: {value}. That is number {rank} of {of} kernels at this position.",
    "通道 {n}，行 {row}，列 {column}：{value}。在这个位置，它在 {of} 个核中排第 {rank}。",
  ],
};
