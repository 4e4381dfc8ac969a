// The words of the lesson "A trained network".

export const STRINGS = {
  netTitle: ["A trained network", "训练好的网络"],
  netWhole: [
    "All its {parameters} weights are in this page. It reads images of {crop}×{crop} pixels. {counted}",
    "全部 {parameters} 个权重都在本页里。它读 {crop}×{crop} 像素的图片。{counted}",
  ],
  netPart: [
    "Here it reaches to {last}: {parameters} of its {all} weights are in this page; the fully connected layers after it are not. It reads images of {crop}×{crop} pixels. {counted}",
    "这里到 {last} 为止：{all} 个权重中的 {parameters} 个在本页里，其后的全连接层不在。它读 {crop}×{crop} 像素的图片。{counted}",
  ],
  counted: [
    "Channels, units, rows and columns are counted from 0, as on the command line and in its files.",
    "通道、单元、行、列都从 0 数起，与命令行和它写的文件一致。",
  ],
  countedTowers: [
    "It has two towers, as AlexNet had on two graphics cards: each is a net of half the channels, and only some layers read both. Towers, channels, units, rows and columns are counted from 0, as on the command line and in its files.",
    "它有两座塔，像放在两块显卡上的 AlexNet：每座塔是一半通道的网络，只有几层读两座塔的值。塔、通道、单元、行、列都从 0 数起，与命令行和它写的文件一致。",
  ],
  picture: ["The image", "图片"],
  open: ["Open an image", "打开图片"],
  dropHint: ["or drop or paste one here", "或者拖放、粘贴到这里"],
  notAPicture: ["{name} cannot be read as an image: try a JPEG or PNG file.", "无法把 {name} 读成图片：请试 JPEG 或 PNG 文件。"],
  tool_move: ["move the image", "移动图片"],
  tool_cover: ["cover a part", "遮住一块"],
  flip: ["Mirror", "镜像"],
  reset: ["As it was", "还原"],
  coverSize: ["Size of the grey square", "灰方块的大小"],
  pictureHint: [
    "Drag in the image, or use the arrow keys in it (with Shift: farther). The frame is what the value below depends on.",
    "在图片里拖动，或用方向键（按住 Shift 走得更远）。框内是下面那个值所依据的部分。",
  ],
  pictureLabel: ["The image as the net reads it, cut at row {top}, column {left}", "网络读到的图片，从第 {top} 行第 {left} 列裁出"],
  guesses: ["Its five best guesses", "它最有把握的五个答案"],
  guessWords: ["It says {name}, with {p}.", "它说是 {name}，概率 {p}。"],
  class: ["class {n}", "类别 {n}"],
  strongest: ["The five strongest channels at the end", "最后最强的五个通道"],
  strongestWords: [
    "These weights end at {layer} and name no classes; its channel {map} answers most strongly, on average.",
    "这些权重到 {layer} 为止，说不出类别；平均最强的是它的通道 {map}。",
  ],
  isCovered: ["A part is covered.", "有一块被遮住。"],
  isFlipped: ["Mirrored.", "已镜像。"],
  timing: ["{macs} multiplications and additions in {ms} ms.", "{macs} 次乘加，用时 {ms} 毫秒。"],
  tenViews: ["Average of ten views", "十个视角的平均"],
  tenWords: ["Four corners and the centre, and their horizontal reflections: {guesses}", "四角、中心和它们的镜像：{guesses}"],
  working: ["Computing …", "正在计算……"],
  scan: ["Which part does the answer hang on?", "答案取决于哪一部分？"],
  scanWords: [
    "With the grey square at position {row}, {column} of 0 to {of}, {name} has {covered} instead of {plain}. Orange: there the answer loses most of its lead; the colours reach to the largest loss.",
    "灰方块在 0 到 {of} 中的行 {row}、列 {column} 时，{name} 的概率是 {covered}，原来是 {plain}。橙色处：遮住它，答案的领先损失最大；颜色按最大的损失定标。",
  ],
  layers: ["The layers", "各层"],
  layersText: [
    "As in the paper's figure 2: one box for each tower, and in the lines between them where one tower hears of the other. Choose a layer to look inside. Each channel is drawn to its own largest value.",
    "如论文的图 2：每个塔一个框；框间的线显示两个塔在哪里互通。选一层看里面。每个通道按它自己的最大值着色。",
  ],
  layersUnits: [
    "In a fully connected layer each small square is one unit: choose the layer, then a square, and its number and its value are said.",
    "全连接层里每个小方格是一个单元：先选层，再选方格，就显示它的编号和值。",
  ],
  answer: ["Answer", "答案"],
  tower: ["tower {n}", "塔 {n}"],
  bothTowers: ["both towers", "两个塔"],
  exchange: ["exchange", "互通"],
  sumOfBoth: ["sum", "求和"],
  maps: ["{n} channels: choose one", "{n} 个通道：选一个"],
  units: ["{n} units, each a square: choose one", "{n} 个单元，每个一格：选一个"],
  mapOf: [
    "Channel {n}, {size}",
    "通道 {n}，{size}",
  ],
  mapName: ["channel {n}", "通道 {n}"],
  greyMap: ["grey", "灰度"],
  redMap: ["red", "红"],
  greenMap: ["green", "绿"],
  blueMap: ["blue", "蓝"],
  sees: ["What it sees", "它看到的部分"],
  cellWords: [
    "{layer}, channel {n}, row {row}, column {column}: {value}. It depends on rows {top} to {bottom} and columns {left} to {right} of the image.",
    "{layer}，通道 {n}，行 {row}，列 {column}：{value}。它取决于图片的第 {top} 到 {bottom} 行、第 {left} 到 {right} 列。",
  ],
  unitWords: [
    "{layer}, unit {n}: {value}. It depends on the whole image.",
    "{layer}，单元 {n}：{value}。它取决于整张图片。",
  ],
  about_conv: [
    "A convolution: kernels of {n}×{n}×{seen}, stride {s}. Size: ({h} + {pad} − {n}) / {s} + 1 = {out}, rounded down.",
    "卷积：{n}×{n}×{seen} 的核，步长 {s}。大小：({h} + {pad} − {n}) / {s} + 1 = {out}，向下取整。",
  ],
  about_local: ["As a convolution of {n}×{n}, but each position has a kernel of its own.", "像 {n}×{n} 的卷积，但每一处有自己的核。"],
  about_dense: ["Fully connected: each unit weighs everything that it reads.", "全连接：每个单元给读到的每个数一个权重。"],
  readsBoth: ["It reads both towers: here they exchange.", "它读两个塔：两塔在此互通。"],
  readsOwn: ["It reads its own tower alone.", "它只读自己的塔。"],
  readsSum: ["Each tower gives its part of the sum.", "每个塔给出和的一部分。"],
  about_relu: ["ReLU: what is below 0 becomes 0.", "ReLU：小于 0 的变成 0。"],
  about_tanh: ["tanh: every value is pressed between −1 and 1.", "tanh：每个值压到 −1 与 1 之间。"],
  about_sigmoid: ["Sigmoid: every value is pressed between 0 and 1.", "Sigmoid：每个值压到 0 与 1 之间。"],
  about_lrn: [
    "Response normalisation: each value is divided by ({k} + {a} × the sum of the squares at its position in {n} neighbouring channels) to the power {b}. Strong neighbours quieten it.",
    "响应归一化：每个值除以（{k} + {a} × 相邻 {n} 个通道同一处的平方和）的 {b} 次方。邻居强，它就弱。",
  ],
  lrnInside: ["The neighbours end at the tower's edge.", "邻居不越过塔的边界。"],
  lrnAcross: ["The neighbours reach over the towers' edge: this too is an exchange.", "邻居越过塔的边界：这也是一种互通。"],
  about_sameMapLrn: ["Normalisation within one channel: divided by ({k} + {a} × the sum of the squares of {n}×{n} positions) to the power {b}.", "同一个通道内的归一化：除以（{k} + {a} × {n}×{n} 处的平方和）的 {b} 次方。"],
  about_rmsNorm: ["Each value is divided by the root of the mean square of all values of the image: their direction is left, not their size.", "每个值除以该图片全部值的均方根：只留下方向，不留大小。"],
  about_max: ["Max-pooling: the largest of {n}×{n} values, stride {s}. What was found stays, where exactly matters less, and the layers above have less to read. {size}", "最大池化：{n}×{n} 个值中的最大者，步长 {s}。找到了什么还在，确切的位置不那么要紧，后面各层要读的也少了。{size}"],
  about_average: ["Average pooling: the mean of {n}×{n} values, stride {s}; at the edge, of those that are there. {size}", "平均池化：{n}×{n} 个值的平均，步长 {s}；在边缘，只平均存在的值。{size}"],
  poolSize: ["Size: ({h} − {n}) / {s} + 1 = {out}, rounded down.", "大小：({h} − {n}) / {s} + 1 = {out}，向下取整。"],
  poolSizeUp: ["Size: ({h} − {n}) / {s} + 1 = {out}, rounded up: the last window may run over the edge.", "大小：({h} − {n}) / {s} + 1 = {out}，向上取整：最后的窗口可以越过边缘。"],
  about_adaptivePool: ["The means of windows that make {n}×{n} of any size.", "用窗口的平均把任何大小变成 {n}×{n}。"],
  about_dropout: ["Dropout: in training each value is set to 0 with a chance of {p}, drawn anew for each image.", "Dropout：训练时，每个值以 {p} 的机会置 0，每张图片重新抽签。"],
  dropScaled: ["When the net is used, all stay and are multiplied by {f}.", "使用网络时全部保留，乘以 {f}。"],
  dropInverted: ["Those that stay are divided by {f} then; when the net is used, nothing changes.", "留下的除以 {f}；使用网络时什么也不变。"],
  maskDraw: ["Draw as in training", "像训练时那样抽签"],
  maskAway: ["As when it is used", "回到使用时"],
  maskWords: ["This draw keeps {kept} of {of} values; the figure above shows them.", "这次抽签留下 {of} 个值中的 {kept} 个；上图显示的就是它们。"],
  atUse: ["In use", "使用时"],
  inTraining: ["In training", "训练时"],
  isKept: ["kept", "留下"],
  isZeroed: ["set to 0", "置 0"],
  whyConv: ["The sum behind it: {k}×{k}×{maps} = {n} products", "它背后的和：{k}×{k}×{maps} = {n} 个乘积"],
  theRest: ["(all other channels)", "（其余各通道之和）"],
  biasWord: ["(bias)", "（偏置）"],
  localOwn: ["This kernel is used at this position alone.", "这个核只用在这一处。"],
  whyDense: ["The sum behind it: {n} products", "它背后的和：{n} 个乘积"],
  fromTower: ["(tower {n})", "（塔 {n}）"],
  weightiest: ["The weightiest of them:", "其中最重的几个："],
  inputName: ["input {n}", "输入 {n}"],
  lrnMaps: [
    "Channels {from} to {to} at this position",
    "此处的通道 {from} 到 {to}",
  ],
  restsSum: [
    "The way of the values, without motion: what the layer reads in the frame of the image makes the patch; each of its numbers, times the kernel's at the same place, makes a product; the products of all channels and the bias are added, and the sum goes into the framed cell of the feature map.",
    "数值怎么走（动画已关）：这一层在图片框内各通道读到的值成为小块；每个数乘以卷积核里同一位置的数，得到乘积；各通道的乘积与偏置相加，和放进特征图里框住的格子。",
  ],
  restsPool: [
    "The way of the values, without motion: what the layer reads in the frame of the image makes the window; one value is made of it, and goes into the framed cell of the feature map.",
    "数值怎么走（动画已关）：这一层在图片框内读到的值成为窗口；由它得出一个值，放进特征图里框住的格子。",
  ],
  squares: ["Sum of squares", "平方和"],
  window: ["The window", "窗口"],
  largest: ["The largest of them", "其中最大的"],
  netTrained: [
    "The net {name} as its training left it at step {step}.",
    "网络 {name}，训练到第 {step} 步。",
  ],
  netConverted: [
    "The net {name}. Its weights were trained elsewhere and are used as they are.",
    "网络 {name}，权重在别处训练，原样使用。",
  ],
  layersTextOne: [
    "One box for each layer with weights. Choose a layer to look inside. Each channel is drawn to its own largest value.",
    "每个带权重的层一个框。选一层看里面。每个通道按它自己的最大值着色。",
  ],
  answerWords: [
    "{layer}, unit {n}, {name}: {value}. It depends on the whole image.",
    "{layer}，单元 {n}，{name}：{value}。它取决于整张图片。",
  ],
  scanSure: [
    "It stays sure wherever the square lies: {lowest} at least.",
    "无论遮住哪里，它都很有把握：至少 {lowest}。",
  ],
  reading: [
    "Reading {name} …",
    "正在读取 {name}……",
  ],
  notAFile: [
    "What was dropped is no file but an address or text, and this page asks nothing of any network. Save the image first, then drop the file.",
    "拖进来的不是文件，而是网址或文字；本页不访问网络。请先把图片存下来，再拖入文件。",
  ],
  truthRight: [
    "The right answer: {name}. ✓ It is right.",
    "正确答案：{name}。✓ 答对了。",
  ],
  truthWrong: [
    "The right answer: {name}, which has {p}. ✗ It is wrong.",
    "正确答案：{name}，它得到 {p}。✗ 答错了。",
  ],
  calledInFeatures: [
    "Its name on the command line: {name}.",
    "它在命令行里的名字：{name}。",
  ],
  toolGroup: [
    "What dragging does",
    "拖动做什么",
  ],
  toLayers: [
    "Back to the layers",
    "回到各层",
  ],
  softmaxTitle: [
    "From these sums to percent: softmax",
    "从这些和到百分比：softmax",
  ],
  softmaxText: [
    "Each sum z becomes e to the power of z minus the largest; divided by the total of all {n}, they are the probabilities.",
    "每个和 z 先减去最大的，再取 e 的幂；除以全部 {n} 个的总和，就是概率。",
  ],
  softmaxClass: [
    "class",
    "类别",
  ],
  softmaxOthers: [
    "the other {n}",
    "其余 {n} 个",
  ],
  softmaxTotal: [
    "total",
    "总和",
  ],
  tryNet: [
    "Cover the part that the answer hangs on most (the scan below shows where), and see whether the answer changes. Mirror the image: which layers change, and which answer?",
    "把答案最依赖的部分遮住（下面的扫描会指出在哪里），看答案变不变。再把图片镜像：哪些层变了，答案变了吗？",
  ],
  inputTitle: [
    "What the net reads",
    "网络实际读到的",
  ],
  inputText: [
    "Before the first layer the mean of the training images is taken off: what is left is what makes this image different.",
    "进入第一层之前，先减去训练图片的平均：剩下的才是这张图片与众不同之处。",
  ],
  inputMean: [
    "the mean",
    "平均",
  ],
  inputRest: [
    "what is left",
    "剩下的",
  ],
  inputWords: [
    "That is the {colour} of the pixel in row {row}, column {column}, the middle of the frame.",
    "这是框正中、第 {row} 行第 {column} 列像素的{colour}。",
  ],
  inputNone: [
    "This net takes no mean off. That is the {colour} of the pixel in row {row}, column {column}, the middle of the frame.",
    "这个网络不减平均。这是框正中、第 {row} 行第 {column} 列像素的{colour}。",
  ],
  drawMany: [
    "Draw a hundred times",
    "抽签一百次",
  ],
  drawSays: [
    "With this draw it says {drawn}, {drawnP}. In use, with all values: {used}, {usedP}.",
    "按这次抽签，它说 {drawn}，{drawnP}。使用时保留全部：{used}，{usedP}。",
  ],
  drawsSay: [
    "{agree} of {n} draws of all dropout layers say {used}; on average they give it {meanP}. The net in use, one pass with all values multiplied, gives {usedP}: a good guess at the mean of all the thinned nets.",
    "全部 dropout 层抽签 {n} 次，{agree} 次说是 {used}，平均给它 {meanP}。使用时只算一遍、把所有值乘以系数，给 {usedP}：很接近所有“变瘦”网络的平均。",
  ],
  everyStride: [
    "every {s}",
    "每 {s} 步",
  ],
  poolTitle: [
    "Overlapping windows, as here, beside windows that do not overlap",
    "重叠的窗口（本网络）与不重叠的窗口",
  ],
  poolWords: [
    "Windows of {size}×{size} every {stride} share rows and columns: the largest value above lies in {own} of them. Of windows of {stride}×{stride} it would lie in {plain}. In the paper overlapping lowered the top-1 error by 0.4 percentage points.",
    "每 {stride} 步一个 {size}×{size} 的窗口，相邻窗口共用行和列：上面那个最大值落在 {own} 个窗口里；换成 {stride}×{stride} 的窗口，则落在 {plain} 个里。论文中，重叠使 top-1 误差降低 0.4 个百分点。",
  ],
  lightingTitle: [
    "Lighting: other colours for the same image",
    "光照：同一张图片，换种颜色",
  ],
  lightingText: [
    "In training the paper adds to every pixel of an image a random amount along the three axes in which the colours of the training images vary most (their principal components): a net is to know a thing in any light. One unit of a slider is one standard deviation of the draw.",
    "训练时，论文给一张图片的每个像素加上一个随机量，方向是训练图片颜色变化最大的三个轴（主成分）：换了光线，网络也应认得。滑块的一格是抽签的一个标准差。",
  ],
  axis_0: [
    "widest axis",
    "变化最大的轴",
  ],
  axis_1: [
    "second axis",
    "第二个轴",
  ],
  axis_2: [
    "third axis",
    "第三个轴",
  ],
  axisColours: [
    "the colours of axis {n}",
    "轴 {n} 的颜色",
  ],
  lightingWords: [
    "Added to every pixel: red {red}, green {green}, blue {blue}.",
    "每个像素加上：红 {red}，绿 {green}，蓝 {blue}。",
  ],
};
