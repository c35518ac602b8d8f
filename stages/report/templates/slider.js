"use strict";
// The threshold of an attribute's page: counts and scores follow it, computed from what the page
// holds: the probabilities that the model gave, in steps, and how many labels of either kind each
// step adds (see Ladder.encode in answers.py).
(() => {
  const NONE = "n/a";
  const labs = [...document.querySelectorAll(".lab")].map((root) => {
    const bytes = Uint8Array.from(atob(root.dataset.counts), (c) => c.charCodeAt(0));
    const exact = root.dataset.exact === "1";
    const width = exact ? 4 : 8;
    const n = bytes.length / (width + 2);
    const steps = new (exact ? Float32Array : Float64Array)(bytes.buffer.slice(0, width * n));
    const sum = (from) => {
      const sums = new Uint32Array(n + 1);
      for (let k = 0; k < n; k += 1) sums[k + 1] = sums[k] + bytes[from + k];
      return sums;
    };
    return { root, exact, steps, fn: sum(width * n), tn: sum((width + 1) * n) };
  });

  const share = (a, b) => (b ? a / b : null);
  const percent = (x) => (x === null ? NONE : `${(100 * x).toFixed(2)}\u202f%`);
  const points = (x) => {
    if (x === null) return NONE;
    const text = Math.abs(100 * x).toFixed(2);
    if (Number(text) === 0) return text;
    return `${x < 0 ? "\u2212" : "+"}${text}`;
  };
  const whole = (x) => x.toLocaleString("en-US");

  // How many steps lie at or below a threshold: their answers are no.
  const place = (steps, threshold) => {
    let low = 0, high = steps.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (steps[middle] <= threshold) low = middle + 1; else high = middle;
    }
    return low;
  };

  const measure = (lab, threshold) => {
    const at = place(lab.steps, threshold);
    const fn = lab.fn[at], tn = lab.tn[at];
    const tp = Number(lab.root.dataset.positive) - fn, fp = Number(lab.root.dataset.negative) - tn;
    const recall = share(tp, tp + fn), specificity = share(tn, tn + fp);
    const accuracy = share(tp + tn, tp + fp + fn + tn);
    const constant = parseFloat(lab.root.dataset.constant);
    return {
      tp, fp, fn, tn, recall, specificity, accuracy,
      threshold: lab.exact || at === 0 ? threshold : lab.steps[at - 1],
      precision: share(tp, tp + fp),
      f1: share(2 * tp, 2 * tp + fp + fn),
      balanced: recall === null || specificity === null ? null : (recall + specificity) / 2,
      gain: accuracy === null || Number.isNaN(constant) ? null : accuracy - constant,
    };
  };

  const mark = (live, m) => {
    const [x, y, width, height] = live.dataset.box.split(" ").map(Number);
    if (live.dataset.kind === "histogram") {
      const now = x + width * m.threshold;
      live.querySelector(".cut").setAttribute("transform", `translate(${now} 0)`);
      live.querySelector(".no").setAttribute("width", now - x);
      live.querySelector(".yes").setAttribute("x", now);
      live.querySelector(".yes").setAttribute("width", x + width - now);
      return;
    }
    const [across, up] = live.dataset.kind === "pr"
      ? [m.recall, m.precision] : [m.specificity === null ? null : 1 - m.specificity, m.recall];
    const dot = live.querySelector(".at");
    dot.setAttribute("visibility", across === null || up === null ? "hidden" : "visible");
    if (across !== null && up !== null) {
      dot.setAttribute("transform", `translate(${x + width * across} ${y + height * (1 - up)})`);
    }
  };

  const show = (lab, wanted, source) => {
    const { root } = lab;
    const m = measure(lab, wanted);
    const texts = {
      precision: percent(m.precision), recall: percent(m.recall), f1: percent(m.f1),
      accuracy: percent(m.accuracy), balanced: percent(m.balanced), gain: points(m.gain),
      tp: whole(m.tp), fp: whole(m.fp), fn: whole(m.fn), tn: whole(m.tn),
    };
    for (const field of root.querySelectorAll("[data-out]")) {
      field.textContent = texts[field.dataset.out];
    }
    const said = Number(m.threshold.toPrecision(6));
    const slider = root.querySelector("[type=range]"), number = root.querySelector("[type=number]");
    if (source !== slider) slider.value = said;
    if (source !== number) number.value = said;
    root.querySelector("output").textContent =
      `At ${said}: precision ${texts.precision}, recall ${texts.recall}, F1 ${texts.f1}, ` +
      `accuracy ${texts.accuracy}; ${texts.fp} false alarms and ${texts.fn} misses.`;
    for (const button of root.querySelectorAll("[data-threshold]")) {
      button.setAttribute("aria-pressed", Number(button.dataset.threshold) === wanted);
    }
    for (const live of root.closest(".part").querySelectorAll(".live")) mark(live, m);
  };

  for (const lab of labs) {
    const { root } = lab;
    const choose = (value, source) => {
      if (!Number.isFinite(value)) return;
      show(lab, Math.min(1, Math.max(0, value)), source);
    };
    for (const input of root.querySelectorAll("input")) {
      input.addEventListener("input", () => choose(input.valueAsNumber, input));
    }
    for (const button of root.querySelectorAll("[data-threshold]")) {
      button.addEventListener("click", () => choose(Number(button.dataset.threshold), button));
    }
    for (const part of root.querySelectorAll(".knobs, .readings")) part.hidden = false;
    choose(Number(root.dataset.start), null);
  }
})();
