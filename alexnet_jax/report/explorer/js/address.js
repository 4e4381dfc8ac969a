// The page's address after its '#': what one looks at, so that a link leads there.
// #lang=zh&lesson=net&layer=conv3&channel=12&image=2

const WAIT = 300; // milliseconds without a change until it is written: browsers limit how often one may
let present = {};
let timer;

/** What the address says: {lang, lesson, layer, channel, image}, what is not there left out. */
export function readAddress() {
  const said = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const { lang, lesson, layer } = said;
  const found = { lang, lesson, layer, channel: wholeNumber(said.channel), image: wholeNumber(said.image) };
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined));
}

const wholeNumber = (text) => (/^\d{1,6}$/.test(text || "") ? Number(text) : undefined);

/** Sets parts of the address; undefined takes one out. */
export function writeAddress(changes) {
  present = { ...present, ...changes };
  clearTimeout(timer);
  timer = setTimeout(() => {
    const parts = Object.entries(present).filter(([, value]) => value !== undefined);
    history.replaceState(null, "", `#${new URLSearchParams(parts)}`);
  }, WAIT);
}
