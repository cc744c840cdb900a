// What an answer looks like: labels, the picture as the network sees it, its planes, the rate of every layer.
"use strict";

const zooDraw = (() => {
  const MOST = 3;

  const element = (name, attributes, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };

  const percent = (share) => `${(100 * share).toFixed(1)} %`;

  // [label, probability] of the most probable classes; of equal ones the earlier class comes first.
  const ranked = (probabilities, labels) =>
    labels.map((label, index) => [label, probabilities[index]]).sort((one, other) => other[1] - one[1]).slice(0, MOST);

  const drawAnswer = (place, answer) => {
    place.replaceChildren(...answer.map(([label, probability]) => {
      const bar = element("span", { class: "bar", "aria-hidden": "true" });
      bar.style.width = `${100 * probability}%`;
      const row = element("li", {}, element("span", { class: "label" }, label), element("span", { class: "share" }, percent(probability)), bar);
      [row.dataset.label, row.dataset.probability] = [label, probability];
      return row;
    }));
  };

  // `at(channel, pixel)` gives a byte.
  const drawPixels = (canvas, size, at) => {
    [canvas.width, canvas.height] = [size, size];
    const pen = canvas.getContext("2d");
    const image = pen.createImageData(size, size);
    for (let pixel = 0; pixel < size * size; pixel += 1) {
      for (let c = 0; c < 3; c += 1) image.data[pixel * 4 + c] = at(c, pixel);
      image.data[pixel * 4 + 3] = 255;
    }
    pen.putImageData(image, 0, 0);
  };

  const drawPlanes = (place, planes, size, captions) => {
    const area = size * size;
    place.replaceChildren(...captions.map((caption, t) => {
      const canvas = element("canvas", { role: "img", "aria-label": caption });
      drawPixels(canvas, size, (c, pixel) => 255 * planes[(t * 3 + c) * area + pixel]);
      return element("li", {}, canvas, element("span", { "aria-hidden": "true" }, caption));
    }));
  };

  // Bars end at the next tenth above the highest rate, as `zoo show` draws them.
  const drawRates = (place, rates, layers) => {
    const highest = Math.max(Math.ceil(Math.max(...rates) * 10 - 1e-9), 1) / 10;
    place.replaceChildren(...Object.entries(layers).map(([name, words], index) => {
      const bar = element("span", { class: "bar" });
      bar.style.width = `${(100 * rates[index]) / highest}%`;
      const title = element("th", { scope: "row" }, words);
      if (words !== name) title.append(" ", element("code", {}, name));
      const row = element("tr", {}, title,
        element("td", { class: "number" }, rates[index].toFixed(3)),
        element("td", { class: "track", "aria-hidden": "true" }, bar));
      [row.dataset.layer, row.dataset.rate] = [name, rates[index]];
      return row;
    }));
    return highest;
  };

  return { ranked, percent, drawAnswer, drawPixels, drawPlanes, drawRates };
})();
