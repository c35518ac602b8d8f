// Verdicts: given by buttons, kept in the browser where it allows that, handed out as a file.
{
  const root = document.getElementById("reviewing");
  if (root) review(root);
}

function review(root) {
  document.getElementById("no-script").remove();
  const WORDS = {
    wrong: ["Wrong", "The label is wrong: mask it"],
    flip: ["Flip", "The other label is right: correct it"],
    fine: ["Fine", "The finding is mistaken: leave it as it is"],
    drop: ["Drop", "Leave the whole image out"],
  };
  const ANSWERS = {
    yes: ["Yes", "Yes is right: correct the copy that says no"],
    no: ["No", "No is right: correct the copy that says yes"],
    unclear: ["Unclear", "Nobody can tell: mask the label in every copy"],
  };
  const store = "facet-verdicts-" + root.dataset.key;
  const key = (image, attribute) => JSON.stringify([image, attribute]);
  const filed = new Map();
  for (const [image, attribute, verdict] of JSON.parse(root.dataset.verdicts)) {
    filed.set(key(image, attribute), verdict);
  }
  // What this browser changed since the file: a verdict, or "" where one was taken back.
  let changes = new Map();
  try {
    changes = new Map(JSON.parse(localStorage.getItem(store) ?? "[]"));
    for (const [name, verdict] of changes) {
      const [image, attribute] = JSON.parse(name);
      if (key(image, attribute) !== name || !["", ...Object.keys(WORDS)].includes(verdict)) {
        throw new Error("not ours");
      }
    }
  } catch {
    changes = new Map(); // no storage here, or not ours: decisions last as long as the page
  }
  const verdictOn = (name) => changes.get(name) ?? filed.get(name) ?? "";

  const isGiven = (verdicts) => verdicts.every(([name, verdict]) => verdictOn(name) === verdict);

  function decide(verdicts, isOn) {
    for (const [name, chosen] of verdicts) {
      const verdict = isOn ? chosen : "";
      if ((filed.get(name) ?? "") === verdict) changes.delete(name);
      else changes.set(name, verdict);
    }
    try {
      localStorage.setItem(store, JSON.stringify([...changes]));
    } catch {
      // kept in this page only
    }
    show();
  }

  function listVerdicts() {
    const rows = [];
    for (const name of new Set([...filed.keys(), ...changes.keys()])) {
      const verdict = verdictOn(name);
      if (verdict) rows.push([...JSON.parse(name), verdict]);
    }
    const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
    return rows.sort((a, b) => order(a[0], b[0]) || order(a[1], b[1]));
  }

  function writeFile() {
    const quote = (text) => (/[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const lines = [["image_id", "attribute", "verdict"], ...listVerdicts()];
    return lines.map((line) => line.map(quote).join(",") + "\n").join("");
  }

  // Buttons, one row per thing to judge. A button stands for one verdict or for several: what is
  // right for one copy of a picture decides for the others. "drop" is about the whole image.
  const buttons = [];
  for (const row of root.querySelectorAll(".verdict")) {
    const { attribute, choices, labels, about } = row.dataset;
    const images = JSON.parse(row.dataset.images);
    if (about) {
      const text = document.createElement("span");
      text.className = "about";
      text.textContent = about;
      row.append(text);
    }
    const add = (name, [text, title], verdicts) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = text;
      button.title = title;
      button.className = name;
      button.addEventListener("click", () => decide(verdicts, !isGiven(verdicts)));
      row.append(button);
      buttons.push([button, verdicts]);
    };
    for (const verdict of choices ? choices.split(" ") : []) {
      const name = key(images[0], verdict === "drop" ? "" : attribute);
      add(verdict, WORDS[verdict], [[name, verdict]]);
    }
    for (const answer of labels ? ["yes", "no", "unclear"] : []) {
      const said = labels.split(" ");
      const verdicts = images.map((image, k) => {
        const verdict = answer === "unclear" ? "wrong" : said[k] === answer ? "fine" : "flip";
        return [key(image, attribute), verdict];
      });
      add(answer, ANSWERS[answer], verdicts);
    }
  }

  // A gallery's own controls: order, and how far one has come.
  const galleries = [...root.querySelectorAll(".gallery-card")].map((card) => {
    const list = card.querySelector(".gallery");
    const finds = [...list.children];
    const tools = document.createElement("div");
    tools.className = "tools";
    const progress = document.createElement("span");
    progress.className = "progress";
    tools.append(progress);
    if (finds.length > 1) tools.append(sorter(list, finds));
    card.querySelector(".gallery-head").append(tools);
    return { finds, progress };
  });

  function sorter(list, finds) {
    const orders = {
      rank: "as ranked",
      score: "score, lowest first",
      "-score": "score, highest first",
      image: "image",
      attribute: "attribute",
      partition: "partition",
    };
    const label = document.createElement("label");
    const select = document.createElement("select");
    for (const [value, text] of Object.entries(orders)) {
      const field = value.replace("-", "");
      if (new Set(finds.map((find) => find.dataset[field])).size > 1) select.add(new Option(text, value));
    }
    select.addEventListener("change", () => {
      const field = select.value.replace("-", "");
      const sign = select.value.startsWith("-") ? -1 : 1;
      const number = field === "rank" || field === "score";
      const value = (find) => (number ? Number(find.dataset[field]) : find.dataset[field]);
      const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
      finds.sort(
        (a, b) => sign * compare(value(a), value(b)) || a.dataset.rank - b.dataset.rank,
      );
      list.append(...finds);
    });
    label.append("Sort by ", select);
    return label;
  }

  // The tray at the bottom: how many verdicts there are, the file, and what to do with it.
  const tray = document.createElement("aside");
  tray.className = "tray";
  tray.setAttribute("aria-label", "Your verdicts");
  const status = document.createElement("span");
  status.setAttribute("role", "status");
  const hide = document.createElement("label");
  const hideBox = document.createElement("input");
  hideBox.type = "checkbox";
  hideBox.addEventListener("change", () => root.classList.toggle("hide-decided", hideBox.checked));
  hide.append(hideBox, " hide what is decided");
  const save = document.createElement("button");
  save.type = "button";
  save.className = "button";
  save.textContent = "Download verdicts.csv";
  save.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([writeFile()], { type: "text/csv" }));
    link.download = "verdicts.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  });
  const forget = document.createElement("button");
  forget.type = "button";
  forget.className = "plain";
  forget.textContent = "Forget the new ones";
  forget.addEventListener("click", () => {
    if (!confirm(`Forget ${changes.size} verdict(s) given in this browser?`)) return;
    changes.clear();
    try {
      localStorage.removeItem(store);
    } catch {
      // nothing was kept
    }
    show();
  });
  tray.append(status, hide, forget, save);
  root.append(tray);

  function show() {
    for (const [button, verdicts] of buttons) {
      button.setAttribute("aria-pressed", String(isGiven(verdicts)));
    }
    for (const { finds, progress } of galleries) {
      let done = 0;
      let open = 0;
      for (const find of finds) {
        const rows = [...find.querySelectorAll(".verdict")];
        const isDropped = find.querySelector(".drop[aria-pressed=true]") !== null;
        const decided =
          rows.length > 0 &&
          (isDropped || rows.every((row) => row.querySelector("[aria-pressed=true]")));
        find.classList.toggle("done", decided);
        done += decided;
        open += rows.length > 0;
      }
      progress.textContent = open ? `${done} of ${open} decided` : "";
    }
    const n = listVerdicts().length;
    const fresh = changes.size ? `, ${changes.size} new` : "";
    status.textContent = `${n} ${n === 1 ? "verdict" : "verdicts"}${fresh}`;
    save.disabled = n === 0 && changes.size === 0;
    forget.hidden = changes.size === 0;
  }
  show();
}
