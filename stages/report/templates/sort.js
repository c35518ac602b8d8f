"use strict";
// Tables sort by a click on a heading. Without this script they stay in the order of the data.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
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
}
