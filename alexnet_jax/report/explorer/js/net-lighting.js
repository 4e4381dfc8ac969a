// Lighting: what training adds to the colours of an image, along the axes in which they vary most.
import { $, show, slider } from "./dom.js";
import { pictureImage, sized } from "./draw.js";
import { netPage } from "./net-page.js";
import { t } from "./strings.js";

const lighting = { alphas: [0, 0, 0] };

export function startLighting() {
  const { axes } = netPage.net;
  $("lighting").hidden = !axes;
  if (!axes) return;
  axes.forEach((axis, i) => {
    const changed = (value) => {
      lighting.alphas[i] = value;
      drawLighting();
    };
    const made = slider(`axis_${i}`, -3, 3, 0.1, 0, changed);
    const strip = document.createElement("canvas");
    strip.setAttribute("role", "img");
    strip.dataset.axis = i;
    $("lighting-sliders").append(made, strip);
  });
  const set = (draw) => {
    [...$("lighting-sliders").querySelectorAll("input")].forEach((input) => {
      input.value = draw();
      input.dispatchEvent(new Event("input"));
    });
  };
  const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  $("lighting-draw").addEventListener("click", () => set(normal));
  $("lighting-none").addEventListener("click", () => set(() => 0));
  netPage.lighting = lighting;
}

/** Draws the image in the light of the sliders, and each axis from its one end to the other. */
export function drawLighting() {
  const { net, cut } = netPage;
  if (!net.axes || !cut) return;
  const added = [0, 1, 2].map((c) => lighting.alphas.reduce((sum, alpha, i) => sum + alpha * net.axes[i][c], 0));
  lighting.added = added;
  const bound = (x) => Math.max(0, Math.min(255, Math.round(x)));
  const lit = Uint8Array.from(cut, (x, i) => bound(x + added[i % 3]));
  const side = 220;
  sized($("lighting-image"), side, side).drawImage(pictureImage(lit, net.crop, 3), 0, 0, side, side);
  $("lighting-image").setAttribute("aria-label", t("lightingTitle"));
  for (const strip of document.querySelectorAll("#lighting-sliders canvas")) {
    const axis = net.axes[strip.dataset.axis];
    const context = sized(strip, 180, 14);
    for (let i = 0; i < 60; i++) {
      const alpha = -3 + i / 10 + 0.05;
      context.fillStyle = `rgb(${axis.map((x) => bound(128 + alpha * x)).join(" ")})`;
      context.fillRect(3 * i, 0, 3, 14);
    }
    strip.setAttribute("aria-label", t("axisColours", { n: strip.dataset.axis }));
  }
  const signed = (x) => (x < 0 ? show(x) : `+${show(x)}`);
  $("lighting-words").textContent = t("lightingWords", {
    red: signed(added[0]), green: signed(added[1]), blue: signed(added[2]),
  });
}
