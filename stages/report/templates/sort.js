"use strict";
// Tables sort by a click on a heading; long ones can be filtered by words. Without this script they
// stay whole, in the order of the data.
const MIN_ROWS = 10;

// A viewer such as MLflow's shows one page alone: from there links lead to no other.
if (location.protocol === "blob:" || location.protocol === "about:") {
  const words = document.createElement("p");
  words.className = "banner";
  words.textContent =
    "This viewer shows one page alone: links to the others do not work in it. Choose them " +
    "from the list of files, or download the folder and open index.html.";
  document.querySelector("main > .wrap").prepend(words);
}

function addFilter(table) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const scroll = table.closest(".scroll");
  const heads = [...table.tHead.rows[0].cells];
  const named = heads.flatMap((head, column) => (head.dataset.type === "text" ? [column] : []));
  const texts = new Map(
    rows.map((row) => [row, named.map((k) => row.cells[k].textContent).join(" ").toLowerCase()])
  );
  const bar = document.createElement("div");
  bar.className = "filter";
  const label = document.createElement("label");
  const input = document.createElement("input");
  const status = document.createElement("span");
  input.type = "search";
  input.autocomplete = "off";
  input.spellcheck = false;
  label.append("Filter ", input);
  label.querySelector("input").setAttribute("aria-label", `Filter: ${scroll.ariaLabel ?? "table"}`);
  status.setAttribute("role", "status");
  bar.append(label, status);
  const show = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let n = 0;
    for (const row of rows) {
      row.hidden = !words.every((word) => texts.get(row).includes(word));
      if (!row.hidden) n += 1;
    }
    status.textContent = words.length ? `${n} of ${rows.length} rows` : `${rows.length} rows`;
  };
  input.addEventListener("input", show);
  show();
  scroll.before(bar);
}

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    if (head.classList.contains("track")) return; // a bar stands beside its figure
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const text = head.dataset.type === "text";
      const before = head.getAttribute("aria-sort");
      const up = before ? before === "descending" : text;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const rows = [...body.rows].map((row) => [row, value(row)]);
      rows.sort(([, a], [, b]) => {
        if (a === "" || b === "") return (a === "") - (b === ""); // n/a comes last either way
        const order = text ? (a < b ? -1 : a > b ? 1 : 0) : a - b;
        return up ? order : -order;
      });
      body.append(...rows.map(([row]) => row));
    });
  });
  if (body.rows.length >= MIN_ROWS && table.closest(".scroll")) addFilter(table);
}
