// The page: its lessons, their languages, colours and addresses.
import { readAddress, writeAddress } from "./address.js";
import { drawArchitecture, followNet, startArchitecture } from "./architecture.js";
import { $ } from "./dom.js";
import { readColours } from "./draw.js";
import { drawKernel, startKernel } from "./kernel.js";
import { drawLearning, learning, startLearning } from "./learn.js";
import { moves, setMotion } from "./motion.js";
import { netPage } from "./net-page.js";
import { drawNeuron, startNeuron } from "./neuron.js";
import { language, setLanguage, t } from "./strings.js";
import { drawNet, startNet, visit } from "./trained.js";

const data = JSON.parse($("data").textContent);
// By the name of the lesson's section: what makes it, and what draws it in the present language and colours.
const LESSONS = {
  neuron: { start: startNeuron, draw: drawNeuron },
  kernel: { start: startKernel, draw: drawKernel },
  architecture: { start: startArchitecture, draw: drawArchitecture },
  net: { start: startNet, draw: drawNet },
  learn: { start: startLearning, draw: drawLearning },
};

function drawAll() {
  readColours();
  for (const { draw } of Object.values(LESSONS)) draw();
}

function speak(chosen) {
  setLanguage(chosen);
  document.documentElement.lang = chosen === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of document.querySelectorAll("[data-t-label]")) {
    element.setAttribute("aria-label", t(element.dataset.tLabel));
  }
  document.title = t("title");
  $("language").textContent = chosen === "zh" ? "English" : "中文";
  $("language").lang = chosen === "zh" ? "en" : "zh-CN";
  $("about").textContent = t("about");
  $("report").hash = `lang=${language()}`;
  move(moves());
  drawAll();
}

function move(on) {
  setMotion(on);
  $("motion").setAttribute("aria-pressed", String(on));
  $("motion").textContent = t(on ? "motionOn" : "motionOff");
}

/** Goes to the lesson of an address, at once. */
function show(lesson) {
  if (LESSONS[lesson]) $(lesson).scrollIntoView({ behavior: "instant" });
}

/** Keeps the address of the lesson that fills most of the window. */
function followLessons() {
  const seen = {};
  const observer = new IntersectionObserver((entries) => {
    for (const { target, intersectionRect } of entries) seen[target.id] = intersectionRect.height;
    const [most] = Object.keys(seen).sort((a, b) => seen[b] - seen[a]);
    writeAddress({ lesson: seen[most] ? most : undefined });
  }, { threshold: Array.from({ length: 41 }, (_, i) => i / 40) });
  for (const lesson of Object.keys(LESSONS)) observer.observe($(lesson));
}

const asked = readAddress();
readColours();
if (innerWidth > 1000) for (const question of document.querySelectorAll(".try")) question.open = true; // there is room
for (const { start } of Object.values(LESSONS)) start(data, asked);
move(!matchMedia("(prefers-reduced-motion: reduce)").matches);
speak(asked.lang || (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en"));
writeAddress({ ...asked, lang: language() });
show(asked.lesson);
followLessons();
netPage.moved = () => {
  const { net, layer, map, image } = netPage;
  followNet();
  writeAddress({ layer: net.layers[layer].name, channel: map, image: image < 0 ? undefined : image });
};
$("language").addEventListener("click", () => {
  speak(language() === "zh" ? "en" : "zh");
  writeAddress({ lang: language() });
});
$("motion").addEventListener("click", () => move(!moves()));
matchMedia("(prefers-reduced-motion: reduce)").addEventListener("change", ({ matches }) => move(!matches));
addEventListener("hashchange", () => {
  const said = readAddress();
  if (said.lang && said.lang !== language()) speak(said.lang);
  writeAddress({ ...said, lang: language() });
  if (said.layer || said.image !== undefined) visit(said);
  show(said.lesson);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth !== width) drawAll(); // a phone's bars come and go: the height alone redraws nothing
  width = innerWidth;
});
window.explorer = { net: netPage, learning, data }; // for the console, and for tests
