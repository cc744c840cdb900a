// The centre square of a picture, resized as Pillow does with its bicubic filter, to the last bit: two passes, antialiased,
// in fixed-point numbers of 22 bits, rounded to bytes after each. A canvas resizes otherwise, and the network would see it.
"use strict";

const zooResize = (() => {
  const BITS = 22;
  const SUPPORT = 2;
  const AT_ONCE = 1 << 20; // pixels that are read at once; a canvas of a whole photograph is too large for some browsers

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

  // The weighted sum of pixels that lie `step` apart, as a byte.
  const sumOf = (pixels, start, step, weights) => {
    let sum = 1 << (BITS - 1);
    for (let k = 0; k < weights.length; k += 1) sum += pixels[start + k * step] * weights[k];
    return Math.min(Math.max(sum >> BITS, 0), 255);
  };

  // `rows(top, count)` gives RGBA bytes of `count` rows; the answer is RGB, size × size.
  const fit = (width, height, size, rows) => {
    const side = Math.min(width, height);
    const [left, top] = [(width - side) / 2, (height - side) / 2];
    const across = weightsOf(width, left, left + side, size);
    const down = weightsOf(height, top, top + side, size);
    const first = down[0].first;
    const end = down[size - 1].first + down[size - 1].weights.length;
    const narrow = new Uint8Array((end - first) * size * 3);
    const most = Math.max(Math.floor(AT_ONCE / width), 1);
    for (let row = first; row < end; row += most) {
      const count = Math.min(most, end - row);
      const strip = rows(row, count);
      for (let y = 0; y < count; y += 1) {
        for (let x = 0; x < size; x += 1) {
          const start = (y * width + across[x].first) * 4;
          const to = ((row - first + y) * size + x) * 3;
          for (let c = 0; c < 3; c += 1) narrow[to + c] = sumOf(strip, start + c, 4, across[x].weights);
        }
      }
    }
    const pixels = new Uint8Array(size * size * 3);
    for (let y = 0; y < size; y += 1) {
      for (let at = 0; at < size * 3; at += 1) {
        pixels[y * size * 3 + at] = sumOf(narrow, (down[y].first - first) * size * 3 + at, size * 3, down[y].weights);
      }
    }
    return pixels;
  };

  // The same of a bitmap; what is transparent lies on white.
  const fitBitmap = (bitmap, size) => {
    const canvas = document.createElement("canvas");
    const { width, height } = bitmap;
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    return fit(width, height, size, (top, count) => {
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
