// The language and the part of the page stand in the address: #lang=zh&part=kernels.
const root = document.documentElement, button = document.getElementById("language");
const address = () => new URLSearchParams(location.hash.slice(1));

function speak(chinese) {
  root.lang = chinese ? "zh-CN" : "en";
  button.textContent = chinese ? "English" : "中文";
  for (const element of document.querySelectorAll("[data-zh]")) {
    const name = element.hasAttribute("alt") ? "alt" : "aria-label";
    element.dataset.en ??= element.getAttribute(name);
    element.setAttribute(name, chinese ? element.dataset.zh : element.dataset.en);
  }
  for (const link of document.querySelectorAll("a.explorer")) link.hash = chinese ? "lang=zh" : "lang=en";
}

function follow() {
  const given = address(), language = given.get("lang") || navigator.language.slice(0, 2);
  speak(language.toLowerCase() === "zh");
  document.getElementById(given.get("part"))?.scrollIntoView();
}

function change(name, value) {
  const given = address();
  given.set(name, value);
  location.hash = given;
}

button.addEventListener("click", () => {
  const given = address();
  given.set("lang", root.lang === "en" ? "zh" : "en");
  history.replaceState(null, "", "#" + given);
  speak(root.lang === "en");
});
document.querySelector("nav").addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='#']");
  if (!link) return;
  event.preventDefault();
  change("part", link.getAttribute("href").slice(1));
  document.getElementById(address().get("part")).scrollIntoView();
});
addEventListener("hashchange", follow);
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => (each.open = true)));
follow();
