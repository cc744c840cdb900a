// Shapes and scales that the picture and its legend are drawn with.
"use strict";

const zooMarks = (() => {
  const NAMESPACE = "http://www.w3.org/2000/svg";
  const FAMILIES = {
    has8: "hybrid", ann: "control or baseline without spikes", snn: "spiking branch alone", sew: "SEW-ResNet", other: "another family",
  };

  const element = (name, attributes, ...children) => {
    const made = document.createElementNS(NAMESPACE, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };

  const kindOf = (family) => (family in FAMILIES ? family : "other");

  // A shape for each family, so that colour is not the only difference.
  const mark = (family, x, y, paper) => {
    const kind = kindOf(family);
    const attributes = { class: `mark ${kind}${paper ? " paper" : ""}` };
    const polygon = (points) =>
      element("polygon", { ...attributes, points: points.map(([dx, dy]) => `${x + dx},${y + dy}`).join(" ") });
    if (kind === "has8") return element("circle", { ...attributes, cx: x, cy: y, r: 6 });
    if (kind === "ann") return element("rect", { ...attributes, x: x - 5, y: y - 5, width: 10, height: 10 });
    if (kind === "snn") return polygon([[0, -6], [6, 5], [-6, 5]]);
    if (kind === "sew") return polygon([[0, -7], [7, 0], [0, 7], [-7, 0]]);
    return polygon([[0, -6], [6, -2], [4, 5], [-4, 5], [-6, -2]]);
  };

  // Ticks at 1, 2 and 5 times powers of ten, or at powers of ten alone if these would be too many.
  const logTicks = (low, high, most) => {
    for (const steps of [[1, 2, 5], [1, 3], [1]]) {
      const ticks = [];
      for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
        ticks.push(...steps.map((step) => step * 10 ** power).filter((tick) => tick >= low && tick <= high));
      }
      if (ticks.length <= most || steps.length === 1) return ticks;
    }
    return [];
  };

  const inUnits = (value) => {
    for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) {
      if (value >= size) return `${+(value / size).toPrecision(3)} ${unit}`;
    }
    return `${+value.toPrecision(3)}`;
  };

  return { FAMILIES, element, kindOf, mark, logTicks, inUnits };
})();
