// The tables of "Step through an epilog": matrices to edit, matrices to read, packed masks, memory.
window.FusionBook = window.FusionBook || {};

(function (book) {
  "use strict";

  const { element } = book.dom;
  const LARGEST = 999; // what still fits a cell

  // Whole numbers as they are, others to three decimals; a true minus sign.
  function format(value) {
    const text = Number.isInteger(value) ? String(value) : value.toFixed(3);
    return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
  }

  function table(caption, columns, rows) {
    const head = columns.map((name) => element("th", { scope: "col" }, name));
    const body = rows.map(([name, cells]) => element("tr", {}, element("th", { scope: "row" }, name), ...cells));
    return element("table", { class: "widget-table" },
      element("caption", {}, caption),
      element("thead", {}, element("tr", {}, element("td"), ...head)),
      element("tbody", {}, ...body));
  }

  const indices = (count) => Array.from({ length: count }, (_, i) => String(i));

  // A field that is not a number is marked, and the last number stays in force.
  function numberField(name, row, j, changed) {
    const field = element("input", { type: "number", step: "any", value: row[j], "aria-label": name });
    field.addEventListener("input", () => {
      const valid = field.value !== "" && Math.abs(field.valueAsNumber) <= LARGEST;
      field.setAttribute("aria-invalid", String(!valid));
      if (valid) row[j] = field.valueAsNumber;
      changed();
    });
    return field;
  }

  function bitField(name, row, j, changed) {
    const field = element("input", { type: "checkbox", "aria-label": name });
    field.checked = row[j];
    field.addEventListener("change", () => {
      row[j] = field.checked;
      changed();
    });
    return field;
  }

  // Edits the matrix in place. A vector, the bias, is a matrix of one column.
  function editor(name, matrix, changed) {
    const make = typeof matrix[0][0] === "boolean" ? bitField : numberField;
    const cells = (row, i) => row.map((_, j) =>
      element("td", {}, make(`${name}, row ${i}, column ${j}`, row, j, changed)));
    const rows = matrix.map((row, i) => [String(i), cells(row, i)]);
    const [m, n] = [matrix.length, matrix[0].length];
    const shape = n === 1 ? `(${m},)` : `(${m}, ${n})`;
    return table(`${name} ${shape}${make === bitField ? ", bits" : ""}`, indices(n), rows);
  }

  function cell(value, before) {
    if (before === undefined || Object.is(format(value), format(before))) return element("td", {}, format(value));
    const was = element("small", {}, `was ${format(before)}`);
    return element("td", { class: "widget-changed" }, format(value), was);
  }

  // Rows from `real` on are padding.
  function matrix(caption, values, before, real = values.length) {
    const rows = values.map((row, i) => [String(i), row.map((value, j) => cell(value, before && before[i][j]))]);
    const made = table(caption, indices(values[0].length), rows);
    made.querySelectorAll("tbody tr").forEach((row, i) => row.classList.toggle("widget-padding", i >= real));
    return made;
  }

  // One line per column of the result: its first byte, bit by bit. All other bytes are padding at this size.
  function mask(bytes, columns) {
    const height = bytes.length / columns;
    const rows = indices(columns).map((j) => {
      const byte = bytes[j * height];
      const bits = byte.toString(2).padStart(8, "0");
      return [`column ${j}`, [element("td", {}, element("code", {}, bits)), element("td", {}, String(byte))]];
    });
    const caption = `relu_aux (${height}, ${columns}), bytes; in each column, ${height - 1} more bytes of padding`;
    return table(caption, ["bits 7 … 0", "byte 0"], rows);
  }

  function sums(caption, lines, totals) {
    const rows = lines.map((line, i) => {
      const terms = line.map((value) => (value < 0 ? `(${format(value)})` : format(value))).join(" + ");
      return [String(i), [element("td", {}, terms), element("td", {}, format(totals[i]))]];
    });
    return table(caption, ["terms", "sum"], rows);
  }

  // The result's elements side by side as in memory. Until it is written there are only their places.
  function memory(values, [m, n], order, written) {
    const line = order === "F" ? m : n;
    const cells = values.map((value, at) => {
      const [outer, inner] = [Math.floor(at / line), at % line];
      const name = order === "F" ? `${inner},${outer}` : `${outer},${inner}`;
      const first = inner === 0 ? "widget-line" : false;
      const content = element("span", {}, written ? format(value) : "·");
      return element("li", { class: first }, element("small", {}, `d[${name}]`), content);
    });
    return element("ol", { class: "widget-memory" }, ...cells);
  }

  book.tables = { format, editor, matrix, mask, sums, memory };
})(window.FusionBook);
