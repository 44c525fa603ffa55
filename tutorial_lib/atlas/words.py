"""The atlas's prose and the frame of an entry; %(…)s is filled in by `page`."""

OPENING = r"""%% Written by `python -m tutorial_lib.atlas`: edit that package, not this file.

# Epilog atlas

All %(count)s members of `MatmulEpilog`, one section each: what it computes, what goes in and comes
out, in which shape and memory order, what is refused, and when to use it.
{doc}`../notebooks/05_matmul_and_epilogs` explains the ideas; come here to look things up. Shapes,
{term}`strides <stride>`, refusals, pictures and outputs on this page are computed: they come from
running the {term}`reference backend`.

%(conformance)s The documents behind it are {cite}`cublasdocs` and {cite}`nvmathdocs`.

## How to read an entry

Every {term}`epilog` starts from the same matrix, the result of the {term}`GEMM`:

$$
\underset{(M, N)}{Z} = \alpha \underset{(M, K)}{A} \; \underset{(K, N)}{B}
+ \beta \underset{(M, N)}{C}
$$ (eq-at-gemm)

It then runs up to three *stages*, from top to bottom in the picture. A filled box changes the
result. An outlined box looks at the result or at an {term}`operand`, and leaves an extra output.
Extra inputs come in from the left: you pass them as `epilog_inputs`, by name. Extra outputs go out
to the right: `execute` then returns a pair, the result and a dictionary.

The shapes in an entry are those of the hidden layer of the book's network: %(m)s units, %(n)s
images, and K = %(k)s pixels forward or K = %(k_backward)s outputs on the way back. Strides count
elements. The examples are small enough to check by hand, and run as they are, with a GPU or
without.

Five rules hold throughout:

- **Rows are units.** A {term}`bias` has one number per row of the result, and so has the bias
  gradient that a BGRAD epilog leaves. Such results are {term}`column-major`. The transpose of a
  column-major result is row-major, and costs nothing.
- **Masks are padded.** `relu_aux` has one bit per element, eight rows to a byte, in columns padded
  to %(mask_rows)s rows. `gelu_aux` repeats the elements, in columns padded to %(gelu_rows)s rows.
  The padding is not yours: on a GPU, nothing promises what it holds.
- **Forward feeds backward.** The dictionary of extra outputs that RELU_AUX or GELU_AUX returns,
  with BIAS or without, is the `epilog_inputs` of DRELU or DGELU as it stands.
- **K = 1 is refused on the way back.** DRELU and DGELU, with BGRAD or without, need a sum of at
  least two terms: a network with a single output cannot use them.
- **GELU is the tanh form** {cite}`hendrycks2016`, in which cuBLASLt has 0.79788456 for the root,
  in float64 too. Below, $\operatorname{gelu}'$ is its derivative.

$$
\begin{aligned}
\operatorname{gelu}(z) &= \tfrac{z}{2} \, (1 + \tanh u), \\
u &= \sqrt{2 / \pi} \; (z + 0.044715 \, z^3)
\end{aligned}
$$ (eq-at-gelu)

For each entry, six things are tried that an epilog may refuse: K = 1, a result of one row or of one
column, a {term}`row-major` `a`, a column-major `b` and a row-major `c`. The entry names those that
are refused, with the exception. A matrix of one column counts as column-major.

## Overview

Extra inputs, extra outputs, and the memory order of the result. The names lead to the entries.

%(overview)s

## The numbers are sets of bits

Each member's number is cuBLASLt's, and adds up what the name says. So `epilog & 4` tells whether a
bias is added.

%(bits)s
"""

# The bits of the numbers, in words.
BITS = {
    1: "no epilog",
    2: "ReLU",
    4: "bias",
    8: "gradient of ReLU",
    16: "row sums of the result",
    32: "GELU",
    64: "gradient of GELU",
    128: "auxiliary array, written forward, read on the way back",
    256: "row sums of `a`",
    512: "column sums of `b`",
}

SECTION = r"""
(epilog-%(slug)s)=
## %(name)s

$$
%(formula)s
$$

**Use it** %(use)s

::::{grid} 1 1 2 2
:gutter: 2

:::{grid-item}
:columns: 12 12 6 6
```{image} _static/epilogs/%(slug)s.svg
:alt: %(alt)s
:align: center
```
:::

:::{grid-item}
:columns: 12 12 6 6
%(table)s
:::
::::

```python
%(example)s
```

```text
%(output)s
```
"""
