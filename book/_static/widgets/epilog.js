// Every epilog, stage by stage, as tutorial_lib/reference/epilogs.py has it. No page here: tested on its own.
// A matrix is a list of rows. What a stage leaves besides is a flat list in memory order, column by column.
window.FusionBook = window.FusionBook || {};

(function (book) {
  "use strict";

  const MASK_ROWS = 128; // the mask's columns are padded to this many bits
  const GELU_ROWS = 8; // and those of GELU's input to this many elements
  const SQRT_2_PI = 0.79788456; // rounded as cuBLASLt has it

  const STAGES = {
    RELU: ["relu"],
    RELU_AUX: ["relu_aux", "relu"],
    BIAS: ["bias"],
    RELU_BIAS: ["bias", "relu"],
    RELU_AUX_BIAS: ["bias", "relu_aux", "relu"],
    DRELU: ["drelu"],
    DRELU_BGRAD: ["drelu", "drelu_bgrad"],
    GELU: ["gelu"],
    GELU_AUX: ["gelu_aux", "gelu"],
    GELU_BIAS: ["bias", "gelu"],
    GELU_AUX_BIAS: ["bias", "gelu_aux", "gelu"],
    DGELU: ["dgelu"],
    DGELU_BGRAD: ["dgelu", "dgelu_bgrad"],
    BGRADA: ["bgrada"],
    BGRADB: ["bgradb"],
  };
  const INPUTS = { bias: "bias", drelu: "relu_aux", dgelu: "gelu_aux" };
  // These leave the result in the order of operand a; all others make it column-major.
  const ORDER_OF_A = ["RELU", "GELU", "BGRADA"];

  const padded = (rows, multiple) => Math.ceil(rows / multiple) * multiple;
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const rowSums = (matrix) => matrix.map(sum);
  const column = (matrix, j) => matrix.map((row) => row[j]);
  const columnSums = (matrix) => matrix[0].map((_, j) => sum(column(matrix, j)));
  const copy = (matrix) => matrix.map((row) => row.slice());

  function matmul(a, b) {
    return a.map((row) => b[0].map((_, j) => sum(row.map((value, k) => value * b[k][j]))));
  }

  function inMemory(matrix, order) {
    return order === "F" ? matrix[0].flatMap((_, j) => column(matrix, j)) : matrix.flat();
  }

  // Row i of a column becomes bit i % 8 of byte i // 8.
  function packMask(positive) {
    const height = padded(positive.length, MASK_ROWS) / 8;
    const mask = new Array(height * positive[0].length).fill(0);
    positive.forEach((row, i) => row.forEach((bit, j) => {
      if (bit) mask[j * height + (i >> 3)] |= 1 << (i & 7);
    }));
    return mask;
  }

  function bit(mask, rows, i, j) {
    return (mask[j * (padded(rows, MASK_ROWS) / 8) + (i >> 3)] >> (i & 7)) & 1;
  }

  function pad(matrix, multiple) {
    const below = padded(matrix.length, multiple) - matrix.length;
    return [...copy(matrix), ...Array.from({ length: below }, () => matrix[0].map(() => 0))];
  }

  const gate = (x) => Math.tanh(SQRT_2_PI * (x + 0.044715 * x ** 3));

  function geluSlope(x) {
    const inner = SQRT_2_PI + 0.1070322243 * x ** 2;
    return 0.5 * (1 + gate(x)) + 0.5 * x * (1 - gate(x) ** 2) * inner;
  }

  // Each stage changes d in place, or leaves an extra output under its own name.
  function change(d, next) {
    d.forEach((row, i) => row.forEach((value, j) => { row[j] = next(value, i, j); }));
  }

  const apply = {
    bias: (d, call) => change(d, (value, i) => value + call.inputs.bias[i]),
    relu: (d) => change(d, (value) => (value < 0 ? 0 : value)), // NaN stays
    relu_aux: (d, call) => { call.outputs.relu_aux = packMask(d.map((row) => row.map((value) => !(value < 0)))); },
    drelu: (d, call) => change(d, (value, i, j) => (bit(call.inputs.relu_aux, d.length, i, j) ? value : 0)),
    gelu: (d) => change(d, (value) => value * 0.5 * (1 + gate(value))),
    gelu_aux: (d, call) => { call.outputs.gelu_aux = inMemory(pad(d, GELU_ROWS), "F"); },
    dgelu: (d, call) => {
      const height = padded(d.length, GELU_ROWS);
      change(d, (value, i, j) => value * geluSlope(call.inputs.gelu_aux[j * height + i]));
    },
    drelu_bgrad: (d, call) => { call.outputs.drelu_bgrad = rowSums(d); },
    dgelu_bgrad: (d, call) => { call.outputs.dgelu_bgrad = rowSums(d); },
    bgrada: (d, call) => { call.outputs.bgrada = rowSums(call.a); },
    bgradb: (d, call) => { call.outputs.bgradb = columnSums(call.b); },
  };

  // inputs: bias (M,); relu_aux and gelu_aux flat, padded, column by column. aOrder: "C" or "F".
  function run(epilog, a, b, inputs, aOrder) {
    const call = { a, b, inputs, outputs: {} };
    const d = matmul(a, b);
    const steps = [{ stage: "matmul", d: copy(d) }];
    for (const stage of STAGES[epilog]) {
      apply[stage](d, call);
      steps.push({ stage, d: copy(d) });
    }
    const order = ORDER_OF_A.includes(epilog) ? aOrder : "F";
    return { steps, order, memory: inMemory(d, order), outputs: call.outputs };
  }

  book.epilog = { STAGES, INPUTS, GELU_ROWS, MASK_ROWS, run, packMask, pad, inMemory };
})(window.FusionBook);
