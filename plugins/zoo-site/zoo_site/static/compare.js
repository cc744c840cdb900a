// The comparison of the weights that are ticked: one column each, one row for each figure that one of them has.
(() => {
  "use strict";

  const data = JSON.parse(document.getElementById("data").textContent);
  const table = document.getElementById("table");
  const place = document.getElementById("comparison");
  const note = document.getElementById("comparison-note");

  const cell = (name, text, scope) => {
    const made = document.createElement(name);
    made.textContent = text;
    if (scope) made.scope = scope;
    return made;
  };

  const exact = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en", { maximumFractionDigits: 6 }));

  const row = (title, cells) => {
    const made = document.createElement("tr");
    made.append(cell("th", title, "row"), ...cells);
    return made;
  };

  const WITHOUT_RATIO = ["image_size", "timesteps", "lowest_energy_ratio", "highest_energy_ratio",
    "lowest_twin_energy_ratio", "highest_twin_energy_ratio", "additions_per_mac"];

  // What follows a figure in brackets: the difference of accuracies to the first weight, or the ratio to it.
  const against = (key, value, first) => {
    if (!value || !first || WITHOUT_RATIO.includes(key)) return "";
    if (key.startsWith("top")) return ` (${value >= first ? "+" : "−"}${Math.abs(value - first).toFixed(2)})`;
    return ` (${+(value / first).toPrecision(3)} ×)`;
  };

  const figureRow = (key, title, weights) => {
    const first = weights[0].figures[key];
    return row(title, weights.map((weight, index) => {
      const value = weight.figures[key];
      const made = cell("td", exact(value) + (index ? against(key, value, first) : ""));
      made.className = "number";
      made.dataset.figure = key;
      return made;
    }));
  };

  const draw = () => {
    const ticked = new Set([...table.querySelectorAll("input:checked")].map((box) => box.value));
    const weights = data.weights.filter((weight) => ticked.has(weight.name));
    place.hidden = weights.length < 2;
    note.textContent = weights.length < 2
      ? "Tick two weights or more in the table to see them side by side."
      : `${weights.length} weights side by side. In brackets: the difference of accuracies to the first weight, or the ratio to it.`;
    if (place.hidden) { place.replaceChildren(); return; }
    const made = document.createElement("table");
    made.append(cell("caption", "Figures of the weights that are ticked"));
    const head = document.createElement("tr");
    head.append(cell("th", "Figure", "col"), ...weights.map((weight) => cell("th", weight.name, "col")));
    made.createTHead().append(head);
    const body = made.createTBody();
    for (const [key, title] of Object.entries(data.compared)) {
      if (weights.some((weight) => (weight.figures[key] ?? null) !== null)) body.append(figureRow(key, title, weights));
    }
    body.append(row("Control", weights.map((weight) => cell("td", weight.control || "–"))));
    body.append(row("Data set", weights.map((weight) => cell("td", weight.dataset))));
    place.replaceChildren(made);
  };

  table.addEventListener("change", draw);
  draw(); // a browser may have kept the ticks of an earlier visit
})();
