// The page: its parts, their languages and colours.
import { $ } from "./dom.js";
import { readColours } from "./draw.js";
import { drawKernel, drawLearning, drawNeuron, learning, startKernel, startLearning, startNeuron } from "./lessons.js";
import { drawNet, netPage, startNet } from "./trained.js";
import { language, setLanguage, t } from "./strings.js";

const data = JSON.parse($("data").textContent);

function drawAll() {
  readColours();
  drawNeuron();
  drawKernel();
  drawLearning();
  drawNet();
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
  move(!document.documentElement.classList.contains("still"));
  drawAll();
}

function move(on) {
  document.documentElement.classList.toggle("still", !on);
  $("motion").setAttribute("aria-pressed", String(on));
  $("motion").textContent = t(on ? "motionOn" : "motionOff");
}

readColours();
startNeuron();
startKernel();
startLearning();
startNet(data);
move(!matchMedia("(prefers-reduced-motion: reduce)").matches);
speak(navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
$("language").addEventListener("click", () => speak(language() === "zh" ? "en" : "zh"));
$("motion").addEventListener("click", () => move(document.documentElement.classList.contains("still")));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth !== width) drawAll(); // a phone's bars come and go: the height alone redraws nothing
  width = innerWidth;
});
window.explorer = { net: netPage, learning, data }; // for the console, and for tests
