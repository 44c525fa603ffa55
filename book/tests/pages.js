// What the tests of the built pages ask and do in a page.

// Elements whose content is wider than they are, other than those that visibly scroll.
function tooWide(media) {
  return [...document.querySelectorAll("html, body *")].filter((element) => {
    if (element.scrollWidth <= element.clientWidth + 1 || element.closest("mjx-container *"))
      return false;
    const overflow = getComputedStyle(element).overflowX;
    const cut = element.tagName === "HTML" || (overflow !== "visible" && element.clientWidth > 1);
    if (!cut) return false;
    const seen = element.offsetHeight - element.clientHeight > 4;  // its scroll bar
    const scrolls = element.matches("div.math mjx-container, .pst-scrollable-table-container")
      || (element.matches("span.math")  // with a reason that is seen
        && element.querySelector("mjx-math").offsetWidth > element.clientWidth);
    return media === "print" || !(scrolls && seen && overflow === "auto");
  }).map((element) => `${element.tagName}.${element.className}, ${element.scrollWidth} in `
    + `${element.clientWidth}: ${element.textContent.trim().slice(0, 40)}`);
}

// The texts of figures, each with its height in pixels of the screen, from the smallest.
function figureTexts() {
  return [...document.querySelectorAll("svg.inline-figure :is(text, tspan)")].map((text) =>
    [Math.abs(text.ownerSVGElement.getScreenCTM().a) * parseFloat(getComputedStyle(text).fontSize),
      text.textContent]).sort((a, b) => a[0] - b[0]);
}

// The colors of figures as the page has them, by name.
function figureColors() {
  const probe = document.body.appendChild(document.createElement("i"));
  const names = [..."blue orange grey pale-blue pale-orange pale-grey line ink paper".split(" ")];
  return Object.fromEntries(names.map((name) => {
    probe.style.color = `var(--figure-${name})`;
    return [name, getComputedStyle(probe).color.match(/[\d.]+/g).map(Number)];
  }));
}

function ink() {
  return [...new Set([...document.querySelectorAll("html, body *")].map((element) => {
    const { color, backgroundColor } = getComputedStyle(element);
    return `${color} on ${backgroundColor}`;
  }))];
}

function unfold() {
  window.dispatchEvent(new Event("beforeprint"));
  document.querySelectorAll("details").forEach((folded) => { folded.open = true; });
}

// Of the tokens of a class in a block of code the first stays, the others become plain text.
function keepOneTokenOfEachClass() {
  document.querySelectorAll("pre > span:not(:has(*))").forEach((token) => {
    const first = token.parentElement.querySelector(`:scope > [class="${token.className}"]`);
    if (token !== first) token.replaceWith(token.textContent);
  });
}

// axe-core reads the same few colors anew for each word; the findings are the same.
function rememberColors({ Color }) {
  const parse = Color.prototype.parseString, known = {};
  Color.prototype.parseString = function (text) {
    const { r, g, b, alpha } = (known[text] ??= new Color(parse.call(this, text)));
    return Object.assign(this, { r, g, b, alpha });
  };
}
