// The picture: accuracy against a cost, a line from each hybrid to its control, the paper's figures as open marks.
(() => {
  "use strict";

  const { element, kindOf, mark, logTicks, inUnits, FAMILIES } = zooMarks;
  const data = JSON.parse(document.getElementById("data").textContent);
  const controls = document.getElementById("picture-controls");
  const place = document.getElementById("picture");
  const note = document.getElementById("picture-note");
  const RESTING = "Point at a mark, or move to it with the Tab key, to read its figures here.";
  let shown = new Set(data.weights.map((weight) => weight.name));

  const pointsOf = (axis, dataset, paper) => {
    const ours = data.weights
      .filter((w) => shown.has(w.name) && w.dataset === dataset)
      .map((w) => ({ name: w.name, family: w.family, control: w.control, page: w.page, x: w.figures[axis], y: w.figures.top1 }));
    const theirs = dataset !== data.paper_dataset || paper === "none" ? [] : data.paper
      .filter((m) => paper === "all" || m.main)
      .map((m) => ({ name: m.name, family: m.name.split("_")[0], paper: true, x: m[axis], y: m.top1 }));
    return [...theirs, ...ours].filter((point) => point.x > 0 && point.y !== undefined && point.y !== null);
  };

  const scaleOf = (points, width, height) => {
    const xs = points.map((point) => point.x);
    const ys = points.map((point) => point.y);
    const [left, right] = [Math.min(...xs) / 1.5, Math.max(...xs) * 1.6];
    const step = Math.max(...ys) - Math.min(...ys) > 30 ? 10 : Math.max(...ys) - Math.min(...ys) > 10 ? 5 : 1;
    const bottom = Math.floor((Math.min(...ys) - step / 4) / step) * step;
    const top = Math.ceil((Math.max(...ys) + step / 4) / step) * step;
    return {
      left, right, bottom, top, step,
      x: (value) => 46 + ((width - 58) * Math.log(value / left)) / Math.log(right / left),
      y: (value) => 12 + ((height - 62) * (top - value)) / (top - bottom),
    };
  };

  const drawAxes = (svg, scale, title, width, height) => {
    for (let value = scale.bottom; value <= scale.top; value += scale.step) {
      svg.append(element("line", { class: "grid", x1: 46, x2: width - 12, y1: scale.y(value), y2: scale.y(value) }));
      svg.append(element("text", { class: "faint", x: 40, y: scale.y(value) + 4, "text-anchor": "end" }, `${value} %`));
    }
    for (const value of logTicks(scale.left, scale.right, width / 70)) {
      const x = scale.x(value);
      svg.append(element("line", { class: "grid", x1: x, x2: x, y1: 12, y2: height - 50 }));
      svg.append(element("text", { class: "faint", x, y: height - 33, "text-anchor": "middle" }, inUnits(value)));
    }
    svg.append(element("text", { class: "faint", x: width - 12, y: height - 10, "text-anchor": "end" }, title));
  };

  const drawPairs = (svg, points, scale) => {
    const byName = new Map(points.filter((point) => !point.paper).map((point) => [point.name, point]));
    for (const point of byName.values()) {
      const control = byName.get(point.control);
      if (!control) continue;
      const line = element("line", {
        class: "pair", x1: scale.x(point.x), y1: scale.y(point.y), x2: scale.x(control.x), y2: scale.y(control.y),
      });
      line.dataset.pair = `${point.name} ${control.name}`;
      svg.append(line);
    }
  };

  const describe = (point, title) =>
    `${point.name}${point.paper ? ", the paper's figure" : ""}: top-1 ${point.y.toFixed(2)} %, ${title}: ${inUnits(point.x)}`;

  const drawPoint = (svg, point, scale, title) => {
    const shape = mark(point.family, scale.x(point.x), scale.y(point.y), point.paper);
    const text = describe(point, title);
    const link = point.paper
      ? element("g", { role: "img", "aria-label": text }, shape)
      : element("a", { href: point.page, "aria-label": text }, shape);
    link.dataset[point.paper ? "paper" : "name"] = point.name;
    shape.append(element("title", {}, text));
    for (const kind of ["focus", "pointerenter"]) link.addEventListener(kind, () => { note.textContent = text; });
    svg.append(link);
  };

  // A name beside each of our marks if there is room for it: above or below, since lines run sideways, else at a side.
  const drawNames = (svg, points, scale, width) => {
    const taken = points.map((point) => ({ x: scale.x(point.x) - 8, y: scale.y(point.y) - 8, w: 16, h: 16 }));
    const meets = (a) => taken.some((b) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h);
    const ours = points.filter((each) => !each.paper);
    const variants = ours.map((point) => point.name.split(".")[0]);
    for (const point of ours) {
      const [variant, tag] = point.name.split(".");
      const twins = variants.filter((each) => each === variant).length > 1; // weights of one network differ in their tags
      const text = (twins ? `${variant}.${tag}` : variant).replace(/_m2_d4/, "");
      const size = { w: text.length * 6.3, h: 14 };
      const [x, y] = [scale.x(point.x), scale.y(point.y)];
      const corners = [[x - size.w / 2, y - 24], [x - size.w / 2, y + 10], [x + 10, y - 7], [x - 10 - size.w, y - 7],
        [x + 8, y - 20], [x + 8, y + 7], [x - size.w - 8, y - 20], [x - size.w - 8, y + 7]];
      const box = corners.map(([left, top]) => ({ x: left, y: top, ...size }))
        .find((each) => each.x > 46 && each.x + each.w < width - 4 && each.y > 0 && !meets(each));
      if (!box) continue;
      taken.push(box);
      svg.append(element("text", { x: box.x, y: box.y + 11, "aria-hidden": "true" }, text));
    }
  };

  const drawLegend = (points) => {
    const kinds = new Set(points.filter((point) => !point.paper).map((point) => kindOf(point.family)));
    const items = [...kinds].map((kind) => [kind, FAMILIES[kind], false]);
    for (const kind of new Set(points.filter((point) => point.paper).map((point) => kindOf(point.family)))) {
      items.push([kind, `${FAMILIES[kind]}, the paper's`, true]);
    }
    document.getElementById("legend").replaceChildren(...items.map(([kind, text, paper]) => {
      const item = document.createElement("li");
      const icon = element("svg", { viewBox: "0 0 18 18", "aria-hidden": "true" }, mark(kind, 9, 9, paper));
      item.append(icon, text);
      return item;
    }));
  };

  const draw = () => {
    const { axis, dataset, paper } = Object.fromEntries(new FormData(controls));
    const title = data.axes[axis];
    const points = pointsOf(axis, dataset, paper);
    drawLegend(points);
    note.textContent = points.length ? RESTING : "No weight that is shown has both figures.";
    const width = Math.max(300, Math.min(1100, place.clientWidth));
    const height = width < 600 ? 360 : 480;
    const label = `Top-1 accuracy on ${dataset} against: ${title}`;
    const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": label });
    if (points.length) {
      const scale = scaleOf(points, width, height);
      drawAxes(svg, scale, title, width, height);
      drawPairs(svg, points, scale);
      for (const point of points) drawPoint(svg, point, scale, title);
      if (width >= 600) drawNames(svg, points, scale, width);
    }
    place.replaceChildren(svg);
  };

  controls.addEventListener("change", draw);
  controls.addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("zoo:shown", (event) => { shown = new Set(event.detail); draw(); });
  let width = place.clientWidth;
  addEventListener("resize", () => {
    if (place.clientWidth !== width) { width = place.clientWidth; draw(); }
  });
  draw();
})();
