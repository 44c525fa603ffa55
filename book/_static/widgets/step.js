// "Step through an epilog": holds what is chosen and typed, and shows one stage at a time.
window.FusionBook = window.FusionBook || {};

(function (book) {
  "use strict";

  const { element } = book.dom;
  const { STAGES, INPUTS, GELU_ROWS, run, packMask, pad, inMemory } = book.epilog;
  const tables = book.tables;
  const GELU = "x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))";

  const SENTENCES = {
    matmul: "The sums of products, d = a @ b. They sit in registers; nothing is written yet.",
    bias: "Row i gets bias[i], the same in every column.",
    relu_aux: "One bit for each element, 1 where d ≥ 0: row i becomes bit i mod 8 of byte i // 8 of its column.",
    relu: "Negative elements become 0.",
    drelu: "The gradient passes where the mask has a 1, and becomes 0 elsewhere.",
    gelu: `Each element x becomes ${GELU}.`,
    gelu_aux: "GELU's input is kept whole, in columns padded to 8 elements.",
    dgelu: "Each element is multiplied by the slope of GELU at the remembered input.",
    drelu_bgrad: "The row sums of d: the gradient of the bias that was added before ReLU.",
    dgelu_bgrad: "The row sums of d: the gradient of the bias that was added before GELU.",
    bgrada: "The row sums of operand a. The result d stays as it is.",
    bgradb: "The column sums of operand b. The result d stays as it is.",
  };

  // Small integers that meet every case: negative, zero, positive.
  function defaults() {
    return {
      a: [[1, -1], [2, 0], [-1, -2]],
      b: [[1, 0, 2, -1], [0, 1, 1, 2]],
      bias: [[1], [-1], [3]],
      relu_aux: [[true, true, true, false], [true, false, true, false], [true, true, false, true]],
      gelu_aux: [[2, 0, 2, -2], [1, -1, 3, -3], [2, 1, -1, 0]],
    };
  }

  const inputNames = (epilog) => STAGES[epilog].map((stage) => INPUTS[stage]).filter(Boolean);

  // As the epilog gets them: packed, padded, column by column.
  function packed(fields) {
    return {
      bias: fields.bias.flat(),
      relu_aux: packMask(fields.relu_aux),
      gelu_aux: inMemory(pad(fields.gelu_aux, GELU_ROWS), "F"),
    };
  }

  // Row-major a, as NumPy makes it, except where cuBLASLt refuses it.
  const orderOfA = (epilog) => (epilog === "BGRADA" ? "F" : "C");

  function writeSentence(epilog, order) {
    if (epilog === "BGRADA") return "Column by column: BGRADA keeps the order of a, and refuses a row-major a.";
    return order === "F"
      ? `Column by column, in one go: ${epilog} makes its result column-major.`
      : `Row by row, in one go: ${epilog} keeps the order of a, and a is row-major here.`;
  }

  // The steps of the arithmetic, and a last one: what leaves the registers.
  function steps(epilog, fields) {
    const result = run(epilog, fields.a, fields.b, packed(fields), orderOfA(epilog));
    const last = result.steps[result.steps.length - 1];
    return { ...result, steps: [...result.steps, { stage: "write", d: last.d }] };
  }

  function extraOutput(stage, d, result, fields) {
    const [rows, columns] = [d.length, d[0].length];
    const values = result.outputs[stage];
    if (!values) return [];
    if (stage === "relu_aux") return [tables.mask(values, columns)];
    if (stage === "gelu_aux") {
      const padded = pad(result.steps.find((step) => step.stage === stage).d, GELU_ROWS);
      return [tables.matrix(`gelu_aux (${padded.length}, ${columns})`, padded, undefined, rows)];
    }
    const lines = { bgrada: fields.a, bgradb: fields.b[0].map((_, j) => fields.b.map((row) => row[j])) }[stage] || d;
    return [tables.sums(`${stage} (${values.length},)`, lines, values)];
  }

  function start(root) {
    const part = (name) => root.querySelector(`[data-part="${name}"]`);
    let fields = defaults();
    let at = 0;

    function showStages(names) {
      const items = names.map((name, i) => element("li", { "aria-current": i === at && "step" }, name));
      part("stages").replaceChildren(...items);
      part("back").setAttribute("aria-disabled", String(at === 0));
      part("next").setAttribute("aria-disabled", String(at === names.length - 1));
    }

    function showMatrix(result) {
      const { stage, d } = result.steps[at];
      const before = at && stage !== "write" ? result.steps[at - 1].d : undefined;
      const shape = [d.length, d[0].length];
      const shown = tables.matrix(`d (${shape.join(", ")}) after ${stage}`, d, before);
      // an extra output stays in sight once it is there
      const done = result.steps.slice(0, at + 1).map((step) => step.stage);
      part("extra").replaceChildren(...done.flatMap((name) => extraOutput(name, d, result, fields)));
      part("matrix").replaceChildren(shown);
      part("order").textContent = result.order === "F" ? "column-major" : "row-major";
      part("memory").replaceChildren(tables.memory(result.memory, shape, result.order, stage === "write"));
      return shown.querySelectorAll(".widget-changed").length;
    }

    function show() {
      const epilog = part("epilog").value;
      const result = steps(epilog, fields);
      const names = result.steps.map((step) => step.stage);
      showStages(names);
      const changed = showMatrix(result);
      const sentence = SENTENCES[names[at]] || writeSentence(epilog, result.order);
      const count = at && names[at] !== "write" ? ` Changed elements: ${changed}.` : "";
      part("sentence").textContent = `${at + 1} of ${names.length}, ${names[at]}. ${sentence}${count}`;
      const mask = packMask(fields.relu_aux);
      const first = fields.relu_aux[0].map((_, j) => mask[(j * mask.length) / fields.relu_aux[0].length]);
      part("bytes").textContent = inputNames(epilog).includes("relu_aux")
        ? `The first byte of each column of relu_aux: ${first.join(", ")}.`
        : "";
    }

    function edit() {
      const names = ["a", "b", ...inputNames(part("epilog").value)];
      part("inputs").replaceChildren(...names.map((name) => tables.editor(name, fields[name], show)));
      show();
    }

    function go(distance) {
      const last = STAGES[part("epilog").value].length + 1;
      at = Math.min(last, Math.max(0, at + distance));
      show();
    }

    Object.keys(STAGES).forEach((name) => part("epilog").append(element("option", {}, name)));
    part("epilog").value = "RELU_AUX_BIAS";
    part("epilog").addEventListener("change", () => { at = 0; edit(); });
    part("next").addEventListener("click", () => go(1));
    part("back").addEventListener("click", () => go(-1));
    part("reset").addEventListener("click", () => { fields = defaults(); at = 0; edit(); });
    root.hidden = false;
    edit();
  }

  const root = document.getElementById("epilog-widget");
  if (root) start(root);
})(window.FusionBook);
