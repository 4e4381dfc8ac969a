// A person's picture to what the net reads, as data/images.py and model/inputs.py define it.

/** Decodes a file and makes it the square that `predict` makes of it: Uint8Array (size, size, channels).
 *
 * It is turned as its EXIF entry says where the net's training images were, and else read as it is stored.
 */
export async function decodePicture(file, net) {
  const { channels, turned } = net;
  // The file's own numbers: no colour management, no multiplication by alpha.
  const bitmap = await createImageBitmap(turned ? file : await withoutExif(file), {
    colorSpaceConversion: "none",
    premultiplyAlpha: "none",
    imageOrientation: "from-image",
  });
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff"; // what is transparent lies on white
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const rgba = context.getImageData(0, 0, width, height).data;
  const pixels = new Uint8Array(width * height * channels);
  for (let i = 0, at = 0; i < rgba.length; i += 4) {
    if (channels === 3) {
      pixels[at++] = rgba[i];
      pixels[at++] = rgba[i + 1];
      pixels[at++] = rgba[i + 2];
    } else {
      pixels[at++] = (rgba[i] * 19595 + rgba[i + 1] * 38470 + rgba[i + 2] * 7471 + 32768) >> 16; // ITU-R 601
    }
  }
  return square(pixels, width, height, net);
}

/** The file with the EXIF segment of a JPEG under another name, for browsers always turn by it. */
async function withoutExif(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  for (let at = 2; bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[at] === 0xff && bytes[at + 1] !== 0xda; ) {
    const name = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (bytes[at + 1] === 0xe1 && name === "Exif") bytes[at + 4] = 0x5f;
    at += 2 + Math.max((bytes[at + 2] << 8) | bytes[at + 3], 2);
  }
  return new Blob([bytes], { type: file.type });
}

/** A whole picture as the square that the net reads: scaled, and cut or squashed, as its config says.
 *
 * In Pillow's fixed-point numbers, or OpenCV's: the same pixels.
 */
export function square(pixels, width, height, net) {
  const { size, channels, reading } = net;
  const short = Math.min(width, height);
  const x = placeOf(width, short, size, reading);
  const y = placeOf(height, short, size, reading);
  if (reading.filter === "opencv_bilinear") {
    return openCvSquare(pixels, width, channels, openCvWeights(width, x, size, true), openCvWeights(height, y, size));
  }
  const columns = pillowWeights(width, x, size, reading.filter);
  const rows = pillowWeights(height, y, size, reading.filter);
  const across = (source, count) => {
    const result = new Uint8Array(count * size * channels);
    for (let row = 0; row < count; row++) {
      for (let column = 0; column < size; column++) {
        const at = (row * size + column) * channels;
        resampled(columns[column], source, row * width * channels, channels, channels, result, at);
      }
    }
    return result;
  };
  const down = (source, count) => {
    const result = new Uint8Array(size * count * channels);
    for (let row = 0; row < size; row++) {
      for (let column = 0; column < count; column++) {
        const at = (row * count + column) * channels;
        resampled(rows[row], source, column * channels, count * channels, channels, result, at);
      }
    }
    return result;
  };
  // Between the passes Pillow rounds. It begins with the rows where they become fewer by far than the columns.
  const fewer = height - (y.part ? size : y.scaled);
  if (fewer > 0 && fewer > 2 * (width - (x.part ? size : x.scaled))) return across(down(pixels, width), size);
  return down(across(pixels, height), size);
}

/** Of the columns, or the rows: how many the scaled picture has, the first that is in the square, and whether
 * that part alone is scaled. */
function placeOf(length, short, size, { form, rounding }) {
  if (form === "squash") return { scaled: size, first: 0, part: false };
  if (rounding === "torchvision") {
    const scaled = Math.trunc((size * length) / short);
    return { scaled, first: roundHalfEven((scaled - size) / 2), part: false };
  }
  const scaled = Math.max(roundHalfEven((length * size) / short), size);
  return { scaled, first: Math.floor((scaled - size) / 2), part: true };
}

/** OpenCV's bilinear scaling, as data/opencv.py. */
function openCvSquare(pixels, width, channels, columns, rows) {
  const result = new Uint8Array(rows.length * columns.length * channels);
  let at = 0;
  for (const y of rows) {
    for (const x of columns) {
      for (let c = 0; c < channels; c++, at++) {
        const value = (row, column) => pixels[(row * width + column) * channels + c];
        const across = (row) => (value(row, x.before) * x.less + value(row, x.after) * x.more) >> 4;
        result[at] = (((across(y.before) * y.less) >> 16) + ((across(y.after) * y.more) >> 16) + 2) >> 2;
      }
    }
  }
  return result;
}

function openCvWeights(length, { scaled, first }, size, alongRow = false) {
  const scale = 1 / (scaled / length);
  const inside = (place) => Math.min(Math.max(place, 0), length - 1);
  return Array.from({ length: size }, (_, i) => {
    const at = Math.fround((first + i + 0.5) * scale - 0.5);
    const before = Math.floor(at);
    const share = alongRow && (before < 0 || before >= length - 1) ? 0 : Math.fround(at - before);
    const [less, more] = [Math.fround(1 - share), share].map((x) => roundHalfEven(x * 2048));
    return { before: inside(before), after: inside(before + 1), less, more };
  });
}

function roundHalfEven(x) {
  const whole = Math.floor(x);
  const rest = x - whole;
  return rest > 0.5 || (rest === 0.5 && whole % 2) ? whole + 1 : whole;
}

const FRACTION = 22; // bits of Pillow's fixed-point weights

function pillowWeights(length, { scaled, first, part }, size, name) {
  const { kernel, radius } = FILTERS[name];
  const at = (place) => Math.fround(place * (length / scaled)); // Pillow takes the ends of a part in 32 bits
  const [from, to, count, skipped] = part ? [at(first), at(first + size), size, 0] : [0, length, scaled, first];
  const scale = Math.fround(to - from) / count;
  const stretch = Math.max(scale, 1);
  const support = radius * stretch;
  const filter = [];
  for (let i = skipped; i < skipped + size; i++) {
    const centre = from + (i + 0.5) * scale;
    const start = Math.max(Math.trunc(centre - support + 0.5), 0);
    const behind = Math.min(Math.trunc(centre + support + 0.5), length);
    const weights = [];
    for (let x = start; x < behind; x++) weights.push(kernel((x - centre + 0.5) / stretch));
    const sum = weights.reduce((a, b) => a + b, 0);
    const fixed = weights.map((w) => Math.trunc((w / sum) * 2 ** FRACTION + (w / sum < 0 ? -0.5 : 0.5)));
    filter.push({ first: start, weights: fixed });
  }
  return filter;
}

const FILTERS = {
  bicubic: { kernel: bicubic, radius: 2 },
  bilinear: { kernel: (x) => Math.max(1 - Math.abs(x), 0), radius: 1 },
};

function bicubic(x) {
  const a = -0.5;
  const t = Math.abs(x);
  if (t < 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
  return t < 2 ? (((t - 5) * t + 8) * t - 4) * a : 0;
}

function resampled({ first, weights }, source, offset, step, channels, target, at) {
  for (let c = 0; c < channels; c++) {
    let sum = 2 ** (FRACTION - 1);
    for (let k = 0, from = offset + first * step + c; k < weights.length; k++, from += step) {
      sum += source[from] * weights[k];
    }
    target[at + c] = Math.min(255, Math.max(0, Math.floor(sum / 2 ** FRACTION)));
  }
}

/** A view of a square picture: where it is cut, whether mirrored, and the grey square that covers a part.
 *
 * Beyond the picture's edge and under the cover lies `grey`, one number a channel.
 * Returns Uint8Array (crop, crop, channels).
 */
export function cutView(pixels, net, view, grey) {
  const { size, crop, channels } = net;
  const result = new Uint8Array(crop * crop * channels);
  const { top, left, flip, cover } = view;
  for (let y = 0; y < crop; y++) {
    for (let x = 0; x < crop; x++) {
      const row = top + y;
      const column = left + (flip ? crop - 1 - x : x);
      const covered =
        cover && y >= cover.top && y < cover.top + cover.side && x >= cover.left && x < cover.left + cover.side;
      const outside = row < 0 || row >= size || column < 0 || column >= size;
      for (let c = 0; c < channels; c++) {
        result[(y * crop + x) * channels + c] =
          covered || outside ? grey[c] : pixels[(row * size + column) * channels + c];
      }
    }
  }
  return result;
}

/** Minus the mean, over the divisor: Float32Array (crop, crop, channels). */
export function normalise(cut, net, mean, view) {
  const { size, crop, channels } = net;
  const { std, form } = net.input;
  const result = new Float32Array(cut.length);
  for (let y = 0, at = 0; y < crop; y++) {
    for (let x = 0; x < crop; x++) {
      for (let c = 0; c < channels; c++, at++) {
        let of = c;
        if (form === "centre") of = at;
        if (form === "crop") {
          const row = Math.min(Math.max(view.top + y, 0), size - 1);
          const column = Math.min(Math.max(view.left + (view.flip ? crop - 1 - x : x), 0), size - 1);
          of = (row * size + column) * channels + c;
        }
        result[at] = Math.fround(cut[at] - mean[of]) / std[c % std.length];
      }
    }
  }
  return result;
}

/** The mean colour in whole grey levels: what the cover and the world beyond the edge are painted with. */
export function meanColour(mean, channels) {
  const sums = new Array(channels).fill(0);
  mean.forEach((value, i) => (sums[i % channels] += value));
  return sums.map((sum) => Math.round(sum / (mean.length / channels)));
}
