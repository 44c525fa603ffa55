// "Does fusion pay for my sizes?": reads the form, shows the estimate and the measured points it rests on.
window.FusionBook = window.FusionBook || {};

(function (book) {
  "use strict";

  const { element } = book.dom;
  const { estimate, judge, saved, launched } = book.pays;
  const NEAREST = 5;

  const grouped = (value) => value.toLocaleString("en-US");
  const rounded = (value) => grouped(Number(value.toPrecision(3)));
  const ratio = (value) => (value < 9.995 ? value.toFixed(2) : rounded(value));
  const shape = (size) => size.map(grouped).join(" × ");
  const percent = (error) => `${Number((100 * (Math.exp(error) - 1)).toPrecision(2))}%`;

  function bytes(value) {
    const power = Math.min(4, Math.floor(Math.log10(value) / 3));
    return `${rounded(value / 1000 ** power)} ${["bytes", "kB", "MB", "GB", "TB"][power]}`;
  }

  function row(name, ...cells) {
    return element("tr", {}, element("th", { scope: "row" }, name), ...cells.map((text) => element("td", {}, text)));
  }

  // What is wrong with the number in a field, shown beside it; empty if nothing is.
  function check(field) {
    const [low, high] = [field.min, field.max].map((text) => grouped(Number(text)));
    const kind = field.step === "any" ? "number" : "whole number";
    const wrong = field.validity.valid ? "" : `${field.labels[0].textContent} must be a ${kind} from ${low} to ${high}.`;
    field.setAttribute("aria-invalid", String(wrong !== ""));
    document.getElementById(field.getAttribute("aria-describedby")).textContent = wrong;
    return wrong;
  }

  function answer({ times: [, fused, kernel, calls], errors }) {
    const first = judge(kernel / fused, errors[0]);
    const say = ({ gain, low, high }, what) => `about ${ratio(gain)} times as fast as product + ${what} (${ratio(low)} to ${ratio(high)})`;
    return `${first.word}: the fused call is ${say(first, "kernel")}, `
      + `and ${say(judge(calls / fused, errors[1]), "CuPy calls")}.`;
  }

  // What the estimate rests on, and how wrong it may be.
  function basis({ size, gpu }, { points: [first], kind, errors }, data) {
    const away = Math.max(...size.map((value, i) => 2 ** Math.abs(Math.log2(value / first.size[i]))));
    const nearest = first.distance
      ? `The nearest measured size, ${shape(first.size)}, differs by a factor of up to ${ratio(away)}.`
      : `The ${data.card} was measured at this size.`;
    const [gain, , time] = errors.map(percent);
    const share = `for nine in ten sizes, up to ${gain} in the first ratio and ${time} in the fused call's time`;
    const lines = [{
      measured: `${nearest} The range is the spread of the samples: ${share}.`,
      near: `This is an estimate. ${nearest} The range is the error of estimating measured sizes from all others: ${share}.`,
      far: `This is a rough estimate, far from every measured size. ${nearest} The range is the error of estimating measured `
        + `sizes from those at least a factor of ${2 ** data.far} away: ${share}. It may be too narrow.`,
    }[kind]];
    if (gpu === data.card) return lines;
    const name = gpu === "mine" ? "your GPU" : `the ${gpu}`;
    return [...lines, `Nothing was measured on ${name}. These are the ${data.card}'s times, scaled by bandwidth and peak; `
      + "the range does not include what the scaling adds."];
  }

  function traffic(query, plain, fused, data) {
    const save = `A single fused kernel moves ${bytes(saved(data, query))} less than product + kernel.`;
    if (!plain || !fused) return `${save} The kernels of this call were not counted.`;
    const more = fused.count - plain.count;
    const extra = more > 0
      ? `The call is not one kernel: cuBLASLt launches ${more} ${more > 1 ? "kernels" : "kernel"} more than for the plain product, so it saves less or nothing.`
      : "The call launches no more kernels than the plain product.";
    return `${save} ${extra} (Counted at ${shape(fused.size)}; each CuPy operation is taken as one kernel.)`;
  }

  function showTimes(body, { epilog }, found, plain, fused, data) {
    const counts = data.chains[epilog].map(([after]) => plain && plain.count + after);
    counts[1] = fused && fused.count;
    body.replaceChildren(...["plain product", "fused call", "product + kernel", "product + CuPy calls"].map((name, i) =>
      row(name, String(counts[i] ?? "–"), rounded(found.times[i]))));
  }

  function start(root, data) {
    const part = (name) => root.querySelector(`[data-part="${name}"]`);
    const value = (name) => part(name).valueAsNumber;
    const mine = structuredClone(data.cards[data.card]); // until the reader says otherwise

    function show(query) {
      const found = estimate(data, query);
      part("results").hidden = !found;
      if (!found) return `No answer: ${query.epilog} was not measured in ${query.arithmetic}.`;
      const fused = launched(data, query, query.epilog);
      const plain = launched(data, fused ? { ...query, size: fused.size } : query);
      showTimes(part("times"), query, found, plain, fused, data);
      const lines = [...basis(query, found, data), traffic(query, plain, fused, data)];
      part("notes").replaceChildren(...lines.map((line) => element("li", {}, line)));
      part("mask").hidden = query.epilog !== "RELU_AUX_BIAS";
      part("points").replaceChildren(...found.points.slice(0, NEAREST).map(({ size, values }) =>
        row(shape(size), ...values.slice(1).map(rounded), ratio(values[2] / values[1]))));
      return answer(found);
    }

    function update() {
      const [arithmetic, epilog, gpu] = ["arithmetic", "epilog", "gpu"].map((name) => part(name).value);
      const own = gpu === "mine";
      part("own").hidden = !own;
      part("peak-name").textContent = `Peak in ${arithmetic}, TFLOP/s`;
      const wrong = ["m", "n", "k", ...(own ? ["bandwidth", "peak"] : [])].map((name) => check(part(name))).find(Boolean);
      part("results").hidden = Boolean(wrong);
      if (own && !wrong) {
        mine.bandwidth = value("bandwidth");
        mine.peaks[arithmetic] = value("peak");
      }
      const query = { arithmetic, epilog, gpu, size: ["m", "n", "k"].map(value), card: own ? mine : data.cards[gpu] };
      part("answer").textContent = wrong ? `No answer: ${wrong}` : show(query);
    }

    // What the reader once typed for this arithmetic.
    function showOwnCard() {
      part("bandwidth").value = mine.bandwidth;
      part("peak").value = mine.peaks[part("arithmetic").value];
    }

    function choosePreset(button) {
      const names = ["m", "n", "k", "arithmetic", "epilog"];
      button.dataset.preset.split(" ").forEach((text, i) => { part(names[i]).value = text; });
      showOwnCard();
      update();
    }

    const choices = { arithmetic: Object.keys(data.bytes), epilog: Object.keys(data.chains), gpu: [...Object.keys(data.cards), "mine"] };
    for (const [name, offered] of Object.entries(choices)) part(name).append(...offered.map((text) => element("option", {}, text)));
    part("epilog").value = "RELU_AUX_BIAS";
    part("machine").textContent = data.machine;
    part("arithmetic").addEventListener("input", showOwnCard); // before the form's own listener
    root.addEventListener("input", update);
    root.querySelectorAll("[data-preset]").forEach((button) => button.addEventListener("click", () => choosePreset(button)));
    root.hidden = false;
    showOwnCard();
    update();
  }

  const root = document.getElementById("pays-widget");
  if (root) start(root, book.measured);
})(window.FusionBook);
