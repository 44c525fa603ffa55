// "Draw a digit": joins the drawing area, the network and what is shown of it.
window.FusionBook = window.FusionBook || {};

(function (book) {
  "use strict";

  const { element, onThemeChange, paintPixels } = book.dom;

  const percent = (share) => `${(100 * share).toFixed(1)}%`;

  function probabilityRows(list) {
    return Array.from({ length: 10 }, (_, digit) => {
      const fill = element("span", { class: "widget-fill" });
      const number = element("span", { class: "widget-number" });
      const bar = element("span", { class: "widget-bar", "aria-hidden": "true" }, fill);
      const row = element("li", {}, element("span", {}, String(digit)), bar, number);
      list.append(row);
      return { row, fill, number };
    });
  }

  function showProbabilities(rows, probabilities) {
    const winner = probabilities && book.network.largest(probabilities);
    rows.forEach(({ row, fill, number }, digit) => {
      const value = probabilities ? probabilities[digit] : 0;
      fill.style.width = `${100 * value}%`;
      number.textContent = probabilities ? value.toFixed(3) : "–";
      row.classList.toggle("widget-winner", digit === winner);
    });
  }

  function unitBars(strip, units) {
    return Array.from({ length: units }, () => {
      const bar = element("span");
      strip.append(bar);
      return bar;
    });
  }

  function showHidden(strip, bars, caption, hidden) {
    const top = Math.max(...hidden, 1e-9);
    bars.forEach((bar, unit) => { bar.style.height = `${(100 * hidden[unit]) / top}%`; });
    const open = hidden.filter((value) => value > 0).length;
    const strongest = book.network.largest(hidden);
    const text = open
      ? `${open} of ${hidden.length} open; unit ${strongest} is strongest, at ${top.toFixed(1)}.`
      : "none open.";
    caption.textContent = text;
    strip.setAttribute("aria-label", `Bars of the hidden units: ${text}`);
  }

  function exampleButtons(group, examples, choose) {
    for (const { label, pixels } of examples) {
      const values = Array.from(book.network.bytes(pixels), (byte) => byte / 255);
      const words = `Show a handwritten ${label} from the test images`;
      const onclick = () => choose(values);
      group.append(element("button", { type: "button", "aria-label": words, onclick }, String(label)));
    }
  }

  function start(root, stored) {
    const part = (name) => root.querySelector(`[data-part="${name}"]`);
    const network = book.network.load(stored);
    const rows = probabilityRows(part("probabilities"));
    const bars = unitBars(part("hidden"), network.hidden.bias.length);
    let seen = new Float64Array(784);

    // The line that is seen changes with every point, the spoken one when a stroke is done.
    function update(pixels, settled) {
      seen = pixels;
      paintPixels(part("seen"), seen);
      const drawn = seen.some((dark) => dark > 0);
      const { hidden, probabilities } = drawn ? book.network.forward(network, seen) : {};
      showProbabilities(rows, probabilities);
      showHidden(part("hidden"), bars, part("units"), hidden || network.hidden.bias.map(() => 0));
      const winner = drawn && book.network.largest(probabilities);
      const answer = drawn
        ? `It reads a ${winner} (${percent(probabilities[winner])}).`
        : "Nothing drawn yet.";
      part("winner").textContent = answer;
      if (settled) part("spoken").textContent = answer;
    }

    const strokesChanged = (strokes, settled) => update(book.digit.fromStrokes(strokes), settled);
    const announce = (text) => { part("pen").textContent = text; };
    const area = book.pad(part("pad"), strokesChanged, announce);
    part("clear").addEventListener("click", area.clear);
    exampleButtons(part("examples"), stored.examples, (pixels) => {
      area.show(pixels);
      update(pixels, true);
    });
    part("trained").textContent =
      `Trained for ${stored.epochs} epochs, it reads ${percent(stored.accuracy)} of the test images right.`;
    onThemeChange(() => paintPixels(part("seen"), seen));
    root.hidden = false;
    area.clear();
  }

  const root = document.getElementById("digit-widget");
  if (root) start(root, book.weights);
})(window.FusionBook);
