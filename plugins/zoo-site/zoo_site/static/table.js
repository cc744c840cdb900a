// Filters and sorting of the table. Other scripts that show weights hear of it by the event "zoo:shown".
(() => {
  "use strict";

  const { weights } = JSON.parse(document.getElementById("data").textContent);
  const byName = new Map(weights.map((weight) => [weight.name, weight]));
  const filters = document.getElementById("filters");
  const body = document.querySelector("#table tbody");
  const rows = [...body.rows];

  const valueOf = (weight, key) => (key in weight ? weight[key] : weight.figures[key]) ?? null;

  const show = () => {
    const chosen = [...new FormData(filters)].filter(([, value]) => value !== "");
    const names = weights.filter((weight) => chosen.every(([key, value]) => weight[key] === value)).map((w) => w.name);
    for (const row of rows) row.hidden = !names.includes(row.dataset.name);
    document.getElementById("count").textContent = `${names.length} of ${rows.length} weights`;
    document.dispatchEvent(new CustomEvent("zoo:shown", { detail: names }));
  };

  // Unmeasured values come last, whichever way the column is sorted.
  const compare = (key, sign) => (one, other) => {
    const [a, b] = [one, other].map((row) => valueOf(byName.get(row.dataset.name), key));
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (typeof a === "string" ? a.localeCompare(b) : a - b);
  };

  const sort = (button) => {
    const heading = button.closest("th");
    const falls = typeof valueOf(weights[0], button.dataset.key) !== "string";
    const first = falls ? "descending" : "ascending";
    const second = falls ? "ascending" : "descending";
    const order = heading.getAttribute("aria-sort") === first ? second : first;
    for (const other of heading.parentElement.querySelectorAll("[aria-sort]")) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", order);
    body.append(...rows.sort(compare(button.dataset.key, order === "ascending" ? 1 : -1)));
  };

  filters.addEventListener("change", show);
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("reset", () => setTimeout(show)); // after the fields have their first values again
  for (const button of document.querySelectorAll("#table thead button")) {
    button.addEventListener("click", () => sort(button));
  }
  show(); // a browser may have kept the fields of an earlier visit
})();
