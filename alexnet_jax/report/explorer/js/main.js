import { Engine } from "./engine.js";
window.e = new Engine(document.getElementById("worker").textContent);
