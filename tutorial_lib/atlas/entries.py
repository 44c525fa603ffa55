"""What the atlas cannot compute: for each epilog a formula, when to use it, and an example."""

from dataclasses import dataclass

from tutorial_lib.reference.epilogs import MatmulEpilog as E

IMPORT = "from tutorial_lib.backend import MatmulEpilog, matmul, xp"
OPERANDS = 'a, b = (xp.array(x, "float32") for x in ([[1, -1], [0, 2]], [[1, 2, 3], [0, 3, -1]]))'
BIAS = 'inputs = {"bias": xp.array([2, 1], "float32")}'
SQUARE = 'a, bias = (xp.array(x, "float32") for x in ([[1, -1], [0, 2]], [2, 1]))'

GELU = r"\operatorname{gelu}"
MASK = r"\mathrm{mask}_{ij} = [Z_{ij} \ge 0]"
MASK_BIASED = r"\mathrm{mask}_{ij} = [Z_{ij} + b_i \ge 0]"
ROW_SUMS = r"g_i = \textstyle\sum_j D_{ij}"


@dataclass(frozen=True)
class Entry:
    """One epilog: `formula` in LaTeX, `use` in Markdown, `lines` of the example after the import.

    In a line, EPILOG stands for ``epilog=MatmulEpilog.NAME``.
    """

    formula: str
    use: str
    lines: tuple[str, str, str]

    def example(self, name: str) -> str:
        """The example's four lines, as a reader pastes them."""
        lines = "\n".join([IMPORT, *self.lines])
        return lines.replace("EPILOG", f"epilog=MatmulEpilog.{name}")


ENTRIES = {
    E.DEFAULT: Entry(
        r"D_{ij} = Z_{ij}",
        "never. It is cuBLASLt's number for no epilog, and nvmath 1.0 refuses it in `plan` with "
        "an `AssertionError`. Plan without an epilog: that is the plain product, which the "
        "facts here describe.",
        (OPERANDS, "try: matmul(a, b, EPILOG)", "except AssertionError: print(matmul(a, b))"),
    ),
    E.RELU: Entry(
        r"D_{ij} = \max(0, Z_{ij})",
        "for a layer without a bias that only predicts. With GELU it is one of the two epilogs "
        "that may leave a result row-major, so it can follow any plain matmul that you have.",
        (OPERANDS, "d = matmul(a, b, EPILOG)", "print(d)"),
    ),
    E.RELU_AUX: Entry(
        rf"D_{{ij}} = \max(0, Z_{{ij}}), \qquad {MASK}",
        "for training a layer without a bias. The mask goes to DRELU or DRELU_BGRAD in the "
        "backward pass. Bit $i$ of a column is row $i$, so the first column of the example, two "
        "ones, is the byte 3. On a GPU the bits past the last row are left to chance: `& 0b11` "
        "drops them.",
        (OPERANDS, "d, extra = matmul(a, b, EPILOG)", 'print(d, extra["relu_aux"][0] & 0b11)'),
    ),
    E.BIAS: Entry(
        r"D_{ij} = Z_{ij} + b_i",
        "for a linear layer with units as rows, above all the last one: {doc}`the fused network "
        "<../notebooks/06_fused_nvmath>` computes its logits this way.",
        (OPERANDS, BIAS, "print(matmul(a, b, EPILOG, epilog_inputs=inputs))"),
    ),
    E.RELU_BIAS: Entry(
        r"D_{ij} = \max(0, Z_{ij} + b_i)",
        "for a whole hidden layer of a network that only predicts. There is no mask to write, "
        "and no backward pass to read one.",
        (OPERANDS, BIAS, "print(matmul(a, b, EPILOG, epilog_inputs=inputs))"),
    ),
    E.RELU_AUX_BIAS: Entry(
        rf"D_{{ij}} = \max(0, Z_{{ij}} + b_i), \qquad {MASK_BIASED}",
        "for a whole hidden layer in training. It replaces four operations of {doc}`the plain "
        "network <../notebooks/04_naive_cupy>`, and DRELU_BGRAD is its counterpart in the "
        "backward pass.",
        (
            SQUARE,
            'd, aux = matmul(a, a.T, EPILOG, epilog_inputs={"bias": bias})',
            'print(d, aux["relu_aux"][0] & 0b11)',
        ),
    ),
    E.DRELU: Entry(
        r"D_{ij} = Z_{ij} \cdot \mathrm{mask}_{ij}",
        "for the way back through a ReLU layer without a bias: the product carries the gradient "
        "to the layer, the mask lets through what ReLU let through. In the example, `2 - b` "
        "stands for the gradient.",
        (
            OPERANDS,
            "_, aux = matmul(a, b, epilog=MatmulEpilog.RELU_AUX)",
            "print(matmul(a, 2 - b, EPILOG, epilog_inputs=aux))",
        ),
    ),
    E.DRELU_BGRAD: Entry(
        rf"D_{{ij}} = Z_{{ij}} \cdot \mathrm{{mask}}_{{ij}}, \qquad {ROW_SUMS}",
        "for the way back through a ReLU layer with a bias. The extra output is the bias "
        "gradient, summed over the batch; {doc}`the fused network "
        "<../notebooks/06_fused_nvmath>` gets that of its hidden layer this way.",
        (
            OPERANDS,
            "_, aux = matmul(a, b, epilog=MatmulEpilog.RELU_AUX)",
            'print(*matmul(a, 2 - b, EPILOG, epilog_inputs=aux), sep="\\n")',
        ),
    ),
    E.GELU: Entry(
        rf"D_{{ij}} = {GELU}(Z_{{ij}})",
        "for a layer with GELU and no bias that only predicts. Like RELU, it may leave the "
        "result row-major.",
        (OPERANDS, "d = matmul(a, b, EPILOG)", "print(d.round(2))"),
    ),
    E.GELU_AUX: Entry(
        rf"D_{{ij}} = {GELU}(Z_{{ij}}), \qquad \mathrm{{aux}}_{{ij}} = Z_{{ij}}",
        "for training a layer with GELU and no bias. A bit is not enough for GELU's derivative: "
        "the whole input is kept, as many bytes as the result.",
        (
            OPERANDS,
            "d, extra = matmul(a, b, EPILOG)",
            'print(d.round(2), extra["gelu_aux"][:2], sep="\\n")',
        ),
    ),
    E.GELU_BIAS: Entry(
        rf"D_{{ij}} = {GELU}(Z_{{ij}} + b_i)",
        "for a whole GELU layer of a network that only predicts, such as the first half of a "
        "transformer's MLP.",
        (OPERANDS, BIAS, "print(matmul(a, b, EPILOG, epilog_inputs=inputs).round(2))"),
    ),
    E.GELU_AUX_BIAS: Entry(
        rf"D_{{ij}} = {GELU}(Z_{{ij}} + b_i), \qquad \mathrm{{aux}}_{{ij}} = Z_{{ij}} + b_i",
        "for a whole GELU layer in training. DGELU_BGRAD is its counterpart in the backward pass.",
        (
            SQUARE,
            'd, aux = matmul(a, a.T, EPILOG, epilog_inputs={"bias": bias})',
            'print(d.round(2), aux["gelu_aux"][:2], sep="\\n")',
        ),
    ),
    E.DGELU: Entry(
        rf"D_{{ij}} = Z_{{ij}} \cdot {GELU}'(\mathrm{{aux}}_{{ij}})",
        "for the way back through a GELU layer without a bias. It multiplies by GELU's slope at "
        "the input that GELU_AUX kept. In the example, `2 - b` stands for the gradient.",
        (
            OPERANDS,
            "_, aux = matmul(a, b, epilog=MatmulEpilog.GELU_AUX)",
            "print(matmul(a, 2 - b, EPILOG, epilog_inputs=aux).round(2))",
        ),
    ),
    E.DGELU_BGRAD: Entry(
        rf"D_{{ij}} = Z_{{ij}} \cdot {GELU}'(\mathrm{{aux}}_{{ij}}), \qquad {ROW_SUMS}",
        "for the way back through a GELU layer with a bias. In the example, `-b` stands for the "
        "gradient, and the inputs are so large that GELU's slope is 0 or 1 and the sums come "
        "out even.",
        (
            OPERANDS,
            "_, aux = matmul(10 * a, b, epilog=MatmulEpilog.GELU_AUX)",
            "print(matmul(a, -b, EPILOG, epilog_inputs=aux)[1])",
        ),
    ),
    E.BGRADA: Entry(
        r"D_{ij} = Z_{ij}, \qquad g_i = \textstyle\sum_k A_{ik}",
        "for a weight gradient whose left operand holds the gradients, units as rows: $G^T "
        "y^T$. The extra output is the bias gradient of the same layer. A row-major batch of "
        "gradients, transposed, is the column-major `a` that it asks for.",
        (
            OPERANDS,
            "d, extra = matmul(xp.asfortranarray(a), b, EPILOG)",
            'print(d, extra["bgrada"])',
        ),
    ),
    E.BGRADB: Entry(
        r"D_{ij} = Z_{ij}, \qquad g_j = \textstyle\sum_k B_{kj}",
        "for a weight gradient whose right operand holds the gradients, units as columns: $y \\, "
        "G$, the transposed gradient of the weights. The extra output is the bias gradient of "
        "the same layer. A batch of gradients is the row-major `b` that it asks for.",
        (OPERANDS, "d, extra = matmul(a, b, EPILOG)", 'print(d, extra["bgradb"])'),
    ),
}
