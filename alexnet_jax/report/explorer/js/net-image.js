// The image that goes through the net: opened, dropped, moved, mirrored, covered.
import { $, make } from "./dom.js";
import { netPage } from "./net-page.js";
import { t } from "./strings.js";

let compute; // runs the net on the present view

export const centre = () => Math.floor((netPage.net.size - netPage.net.crop) / 2);
const freshSide = () => Math.max(2, Math.round(netPage.net.crop / 4));

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/** Takes an image file; resolves when the net runs on it. `number`: of the page's own images, else -1. */
export async function openFile(file, number = -1) {
  $("picture-error").textContent = "";
  $("picture-progress").textContent = t("reading", { name: file.name || "" });
  $("drop").setAttribute("aria-busy", "true");
  try {
    const { pixels } = await netPage.engine.ask({ kind: "decode", file });
    Object.assign(netPage, { pixels, image: number });
  } catch {
    $("picture-error").textContent = t("notAPicture", { name: file.name || "" });
    return;
  } finally {
    $("picture-progress").textContent = "";
    $("drop").setAttribute("aria-busy", "false");
  }
  resetView();
}
netPage.openFile = openFile;

/** Takes an image as the net reads it whole: Uint8Array (size, size, channels). */
export function openPixels(pixels) {
  Object.assign(netPage, { pixels, image: -1 });
  resetView();
}

/** Opens one of the page's own images. */
export function openImage(number) {
  const { png } = netPage.pictures[number];
  return openFile(new Blob([bytesOf(png)], { type: "image/png" }), number);
}

function resetView() {
  netPage.view = { top: centre(), left: centre(), flip: false, cover: netPage.view.cover };
  $("flip").setAttribute("aria-pressed", "false");
  compute();
}

/** Makes the image's part of the page; `run()` is called when the view has changed. */
export function startImage(pictures, run) {
  compute = run;
  netPage.pictures = pictures;
  netPage.coverSide = freshSide();
  pictures.forEach(({ name, png }, number) => {
    const thumbnail = make("img", { alt: name, title: name, src: `data:image/png;base64,${png}` });
    const button = make("button", { type: "button" }, thumbnail);
    button.addEventListener("click", () => openImage(number));
    $("samples").append(button);
  });
  takeFiles();
  buildTools();
  buildGrip($("picture"));
}

function takeFiles() {
  $("file").addEventListener("change", () => $("file").files[0] && openFile($("file").files[0]));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    if (file) openFile(file);
    else $("picture-error").textContent = t("notAFile");
  });
  addEventListener("paste", (event) => {
    const [file] = event.clipboardData.files;
    if (file) openFile(file);
  });
}

function buildTools() {
  for (const tool of ["move", "cover"]) {
    const input = make("input", { type: "radio", name: "tool", value: tool, checked: tool === "move" });
    input.addEventListener("change", () => {
      netPage.tool = tool;
      if (tool === "cover" && !netPage.view.cover) {
        const at = Math.floor((netPage.net.crop - netPage.coverSide) / 2);
        netPage.view = { ...netPage.view, cover: { top: at, left: at, side: netPage.coverSide } };
        compute();
      }
    });
    $("tools").append(make("label", {}, input, make("span", { "data-t": `tool_${tool}` })));
  }
  for (const [key, sign, down, across] of [["left", "◀", 0, -1], ["up", "▲", -1, 0], ["down", "▼", 1, 0], ["right", "▶", 0, 1]]) {
    const button = make("button", { type: "button", "data-t-label": key }, sign);
    button.addEventListener("click", () => shift(down, across, Math.max(1, Math.round(netPage.net.crop / 32))));
    $("pad").append(button);
  }
  $("flip").addEventListener("click", () => {
    netPage.view = { ...netPage.view, flip: !netPage.view.flip };
    $("flip").setAttribute("aria-pressed", String(netPage.view.flip));
    compute();
  });
  $("reset").addEventListener("click", () => {
    netPage.view = { ...netPage.view, cover: null };
    Object.assign(netPage, { tool: "move", masks: {}, coverSide: freshSide() });
    $("cover-size").value = netPage.coverSide;
    document.querySelector('[name="tool"][value="move"]').checked = true;
    resetView();
  });
  const size = $("cover-size");
  Object.assign(size, { min: 1, max: Math.round(netPage.net.crop / 2), value: netPage.coverSide });
  size.addEventListener("input", () => {
    netPage.coverSide = +size.value;
    const { cover } = netPage.view;
    if (cover) placeCover(cover.top + cover.side / 2, cover.left + cover.side / 2);
    else compute();
  });
}

/** The image itself: dragged by mouse or finger, moved by arrow keys; a swipe up or down scrolls the page. */
function buildGrip(canvas) {
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  let grip = null;
  const scale = () => netPage.net.crop / canvas.getBoundingClientRect().width;
  const underCover = (event) => {
    const box = canvas.getBoundingClientRect();
    placeCover((event.clientY - box.top) * scale(), (event.clientX - box.left) * scale());
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    grip = { x: event.clientX, y: event.clientY, view: netPage.view, ...netPage.view };
    if (netPage.tool === "cover") underCover(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!grip) return;
    if (netPage.tool === "cover") return underCover(event);
    const right = Math.round((event.clientX - grip.x) * scale());
    const down = Math.round((event.clientY - grip.y) * scale());
    return placeView(grip.top - down, grip.left - (grip.flip ? -right : right));
  });
  canvas.addEventListener("pointerup", () => (grip = null));
  canvas.addEventListener("pointercancel", () => {
    if (grip) restore(grip); // the finger scrolls the page: nothing was moved
    grip = null;
  });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    shift(...step, event.shiftKey ? 8 : 1);
  });
}

function restore({ view }) {
  if (netPage.view === view) return;
  netPage.view = view;
  compute();
}

/** Moves the picture, or the cover, by so many pixels. */
function shift(down, across, pixels) {
  const { view, coverSide } = netPage;
  if (netPage.tool === "cover" && view.cover) {
    const { top, left } = view.cover;
    placeCover(top + coverSide / 2 + down * pixels, left + coverSide / 2 + across * pixels);
  } else {
    placeView(view.top - down * pixels, view.left - (view.flip ? -across : across) * pixels);
  }
}

function placeView(top, left) {
  const least = -Math.floor(netPage.net.crop / 2);
  const inside = (x) => Math.min(Math.max(x, least), netPage.net.size - netPage.net.crop - least);
  const view = { ...netPage.view, top: inside(top), left: inside(left) };
  if (view.top === netPage.view.top && view.left === netPage.view.left) return;
  netPage.view = view;
  compute();
}

function placeCover(row, column) {
  const side = netPage.coverSide;
  const inside = (x) => Math.min(Math.max(Math.round(x - side / 2), 0), netPage.net.crop - side);
  netPage.view = { ...netPage.view, cover: { top: inside(row), left: inside(column), side } };
  compute();
}

