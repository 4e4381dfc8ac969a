// A person's picture to what the net reads, as data/images.py and model/inputs.py define it.

/** Decodes a file and makes it the square that `predict` makes of it: Uint8Array (size, size, channels).
 *
 * It is turned as its EXIF entry says where the net's training images were, and else read as it is stored.
 */
export async function decodePicture(file, size, channels, turned) {
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
  return square(pixels, width, height, channels, size);
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

/** The short side to `size`, and the centre of it: Pillow's bicubic filter with antialiasing.
 *
 * Across, then down, in Pillow's fixed-point numbers: the same pixels, or two grey levels off in a few of them.
 */
export function square(pixels, width, height, channels, size) {
  const short = Math.min(width, height);
  const across = Math.max(roundHalfEven((width * size) / short), size);
  const down = Math.max(roundHalfEven((height * size) / short), size);
  if (across === width && down === height && width === size && height === size) return pixels;
  const left = Math.floor((across - size) / 2);
  const top = Math.floor((down - size) / 2);
  const boxX = [Math.fround(left * (width / across)), Math.fround((left + size) * (width / across))];
  const boxY = [Math.fround(top * (height / down)), Math.fround((top + size) * (height / down))];
  let result = pixels;
  let wide = width;
  if (boxX[0] !== 0 || boxX[1] !== size || width !== size) {
    const filter = coefficients(width, boxX, size);
    result = new Uint8Array(height * size * channels);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < size; x++) {
        resampled(filter[x], pixels, y * width * channels, channels, channels, result, (y * size + x) * channels);
      }
    }
    wide = size;
  }
  if (boxY[0] !== 0 || boxY[1] !== size || height !== size) {
    const filter = coefficients(height, boxY, size);
    const rows = new Uint8Array(size * wide * channels);
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < wide; x++) {
        resampled(filter[y], result, x * channels, wide * channels, channels, rows, (y * wide + x) * channels);
      }
    }
    result = rows;
  }
  return result;
}

function roundHalfEven(x) {
  const whole = Math.floor(x);
  const rest = x - whole;
  return rest > 0.5 || (rest === 0.5 && whole % 2) ? whole + 1 : whole;
}

const FRACTION = 22; // bits of Pillow's fixed-point weights

function coefficients(length, [from, to], size) {
  const scale = Math.fround(to - from) / size;
  const stretch = Math.max(scale, 1);
  const support = 2 * stretch;
  const filter = [];
  for (let i = 0; i < size; i++) {
    const centre = from + (i + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - support + 0.5), 0);
    const behind = Math.min(Math.trunc(centre + support + 0.5), length);
    const weights = [];
    for (let x = first; x < behind; x++) weights.push(bicubic((x - centre + 0.5) / stretch));
    const sum = weights.reduce((a, b) => a + b, 0);
    const fixed = weights.map((w) => Math.trunc((w / sum) * 2 ** FRACTION + (w / sum < 0 ? -0.5 : 0.5)));
    filter.push({ first, weights: fixed });
  }
  return filter;
}

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
