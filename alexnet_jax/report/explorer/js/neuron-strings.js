// The words of the lesson "One neuron".

export const STRINGS = {
  neuronTitle: ["One neuron", "一个神经元"],
  neuronText: [
    "A neuron multiplies what it sees by its weights, adds its bias, and fires if the sum is above 0. This one looks at a traffic light: green − red − 0.5 > 0 means go.",
    "神经元把看到的数乘以各自的权重，加上偏置；和大于 0 就激活。这一个看的是红绿灯：绿 − 红 − 0.5 > 0，就走。",
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
  neuronGo: ["The sum is {sum}, above 0: go. A rectified unit (ReLU) hands {relu} on.", "和是 {sum}，大于 0：走。整流单元（ReLU）向后传 {relu}。"],
  neuronStop: ["The sum is {sum}, not above 0: stop. A rectified unit (ReLU) hands 0 on.", "和是 {sum}，不大于 0：停。整流单元（ReLU）向后传 0。"],
  tryNeuron: [
    "With both lights at 1 it stops. Which single number would you change so that it goes, and what else would it then do?",
    "两盏灯都是 1 时它停下。只改一个数让它走，你改哪个？改了之后它还会怎样？",
  ],
};
