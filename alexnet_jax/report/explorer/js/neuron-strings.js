// The words of the lesson "One neuron".

export const STRINGS = {
  neuronTitle: ["One neuron", "一个神经元"],
  neuronText: [
    "A neuron multiplies what it sees by its weights, adds its bias, and fires if the sum is above 0. This one looks at a traffic light: green − 0.5 × yellow − red − 0.5 > 0 means go.",
    "神经元把看到的数乘以各自的权重，加上偏置；和大于 0 就激活。这一个看的是红绿灯：绿 − 0.5 × 黄 − 红 − 0.5 > 0，就走。",
  ],
  neuron_green: ["green light", "绿灯亮度"],
  neuron_red: ["red light", "红灯亮度"],
  neuron_greenWeight: ["weight of green", "绿灯的权重"],
  neuron_redWeight: ["weight of red", "红灯的权重"],
  neuron_bias: ["bias", "偏置"],
  green: ["green", "绿"],
  red: ["red", "红"],
  go: ["go", "走"],
  stop: ["stop", "停"],
  neuronGo: [
    "The sum is {sum}, above 0: go. A rectified unit (ReLU) hands {relu} on, a sigmoid unit {sigmoid}.",
    "和是 {sum}，大于 0：走。整流单元（ReLU）向后传 {relu}，Sigmoid 单元传 {sigmoid}。",
  ],
  neuronStop: [
    "The sum is {sum}, not above 0: stop. A rectified unit (ReLU) hands 0 on, a sigmoid unit {sigmoid}.",
    "和是 {sum}，不大于 0：停。整流单元（ReLU）向后传 0，Sigmoid 单元传 {sigmoid}。",
  ],
  tryNeuron: [
    "With green and red both at 1 it stops. Which single number would you change so that it goes, and what else would it then do? Then put green back to 0.9, red to 0.2 and the weights to what they were, and turn up yellow until the sigmoid says 0.5: what is the sum there?",
    "绿和红都是 1 时它停下。只改一个数让它走，你改哪个？改了之后它还会怎样？然后把绿调回 0.9、红调回 0.2、权重复原，再把黄灯调亮，直到 Sigmoid 回答 0.5：这时和是多少？",
  ],
  neuron_yellow: [
    "yellow light",
    "黄灯亮度",
  ],
  neuron_yellowWeight: [
    "weight of yellow",
    "黄灯的权重",
  ],
  yellow: [
    "yellow",
    "黄",
  ],
  curveTitle: [
    "What becomes of the sum",
    "和变成什么",
  ],
  curveText: [
    "The sigmoid presses every sum between 0 and 1: at 0 it says 0.5, undecided, and where it is steep a small change of a weight matters most. ReLU keeps what is above 0 as it is. AlexNet uses ReLU, which does not flatten for large sums, and learned several times faster with it.",
    "Sigmoid 把任何和压到 0 与 1 之间：和为 0 时回答 0.5，拿不定主意；曲线越陡，权重的小变化影响越大。ReLU 原样保留大于 0 的值。AlexNet 用 ReLU：和再大它也不变平，因此学得快好几倍。",
  ],
  curveSigmoid: [
    "sigmoid",
    "Sigmoid",
  ],
  curveRelu: [
    "ReLU",
    "ReLU",
  ],
  curveWords: [
    "At the sum {sum} the sigmoid says {sigmoid} and ReLU {relu}.",
    "和为 {sum} 时，Sigmoid 回答 {sigmoid}，ReLU 回答 {relu}。",
  ],
};
