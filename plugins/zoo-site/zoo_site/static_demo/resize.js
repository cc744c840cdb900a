// The centre square of a picture, resized as Pillow does with its bicubic filter, to the last bit: two passes, antialiased,
// in fixed-point numbers of 22 bits, rounded to bytes after each. A canvas resizes otherwise, and the network would see it.
"use strict";

const zooResize = (() => {
  const BITS = 22;
  const HALF = 2 ** (BITS - 1);
  const SUPPORT = 2;
  const AT_ONCE = 2 ** 18; // pixels that are read at once; a canvas of a whole photograph is too large for some browsers

  const bicubic = (distance) => {
    const x = Math.abs(distance);
    if (x < 1) return ((-0.5 + 2) * x - (-0.5 + 3)) * x * x + 1;
    if (x < 2) return (((x - 5) * x + 8) * x - 4) * -0.5;
    return 0;
  };

  const fixed = (weight) => Math.trunc(weight * 2 ** BITS + (weight < 0 ? -0.5 : 0.5));

  // For each of `count` results: the first of the `length` pixels that it is made of, and their weights.
  const weightsOf = (length, from, to, count) => {
    const scale = (to - from) / count;
    const stretch = Math.max(scale, 1);
    const support = SUPPORT * stretch;
    return Array.from({ length: count }, (_, index) => {
      const centre = from + (index + 0.5) * scale;
      const first = Math.max(Math.trunc(centre - support + 0.5), 0);
      const end = Math.min(Math.trunc(centre + support + 0.5), length);
      const weights = Array.from({ length: end - first }, (_, x) => bicubic((x + first - centre + 0.5) * (1 / stretch)));
      const sum = weights.reduce((total, weight) => total + weight, 0);
      return { first, weights: Int32Array.from(weights, (weight) => fixed(sum ? weight / sum : weight)) };
    });
  };

  const toByte = (sum) => Math.min(Math.max(sum >> BITS, 0), 255);

  // The weighted sum of pixels that lie `step` apart, as a byte.
  const sumOf = (pixels, start, step, weights) => {
    let sum = HALF;
    for (let k = 0; k < weights.length; k += 1) sum += pixels[start + k * step] * weights[k];
    return toByte(sum);
  };

  const endOf = (parts) => parts[parts.length - 1].first + parts[parts.length - 1].weights.length;

  // Every row that `down` needs: its number, RGBA bytes, and where among them it begins.
  const walk = (width, down, rows, visit) => {
    const most = Math.max(Math.floor(AT_ONCE / width), 1);
    for (let top = down[0].first; top < endOf(down); top += most) {
      const count = Math.min(most, endOf(down) - top);
      const strip = rows(top, count);
      for (let y = 0; y < count; y += 1) visit(top + y, strip, y * width * 4);
    }
  };

  const acrossThenDown = (width, across, down, rows) => {
    const [size, first] = [across.length, down[0].first];
    const narrow = new Uint8Array((endOf(down) - first) * size * 3);
    walk(width, down, rows, (row, strip, start) => {
      for (let x = 0; x < size; x += 1) {
        const to = ((row - first) * size + x) * 3;
        for (let c = 0; c < 3; c += 1) narrow[to + c] = sumOf(strip, start + across[x].first * 4 + c, 4, across[x].weights);
      }
    });
    return Uint8Array.from({ length: size * size * 3 }, (_, at) => {
      const part = down[Math.floor(at / (size * 3))];
      return sumOf(narrow, (part.first - first) * size * 3 + (at % (size * 3)), size * 3, part.weights);
    });
  };

  const downThenAcross = (width, across, down, rows) => {
    const [size, first] = [across.length, across[0].first];
    const columns = endOf(across) - first;
    const sums = new Int32Array(size * columns * 3).fill(HALF);
    walk(width, down, rows, (row, strip, start) => {
      down.forEach((part, y) => {
        const weight = part.weights[row - part.first]; // undefined outside of it
        for (let at = 0; weight && at < columns * 3; at += 1) {
          const pixel = Math.floor(at / 3);
          sums[y * columns * 3 + at] += strip[start + (first + pixel) * 4 + at - pixel * 3] * weight;
        }
      });
    });
    const flat = Uint8Array.from(sums, toByte);
    return Uint8Array.from({ length: size * size * 3 }, (_, at) => {
      const [y, x] = [Math.floor(at / (size * 3)), Math.floor(at / 3) % size];
      return sumOf(flat, (y * columns + across[x].first - first) * 3 + (at % 3), 3, across[x].weights);
    });
  };

  // `rows(top, count)` gives RGBA bytes of `count` rows; the answer is RGB, size × size. With `tallFirst` an image that is
  // much taller than wide takes the vertical pass first, as Pillow does from 13 on.
  const fit = (width, height, size, tallFirst, rows) => {
    const side = Math.min(width, height);
    const [left, top] = [(width - side) / 2, (height - side) / 2];
    const across = weightsOf(width, left, left + side, size);
    const down = weightsOf(height, top, top + side, size);
    const isTall = height > size && height - size > (width - size) * 2;
    return (tallFirst && isTall ? downThenAcross : acrossThenDown)(width, across, down, rows);
  };

  // The same of a bitmap; what is transparent lies on white.
  const fitBitmap = (bitmap, size, tallFirst) => {
    const canvas = document.createElement("canvas");
    const { width, height } = bitmap;
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    return fit(width, height, size, tallFirst, (top, count) => {
      [canvas.width, canvas.height] = [width, count];
      pen.imageSmoothingEnabled = false;
      pen.fillStyle = "#fff";
      pen.fillRect(0, 0, width, count);
      pen.drawImage(bitmap, 0, top, width, count, 0, 0, width, count);
      return pen.getImageData(0, 0, width, count).data;
    });
  };

  return { fit, fitBitmap };
})();
