// A few lines that the widgets need to make elements.
window.FusionBook = window.FusionBook || {};

(function (book) {
  "use strict";

  // element("button", { type: "button", onclick: f, "aria-label": "…" }, "text", child, …)
  function element(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value !== false && value !== undefined) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children);
    return node;
  }

  // The theme's colors change under a canvas that is already painted.
  function onThemeChange(repaint) {
    const watched = { attributes: true, attributeFilter: ["data-theme"] };
    new MutationObserver(repaint).observe(document.documentElement, watched);
  }

  // A canvas takes its ink from its own CSS color, so that it follows the theme.
  function paintPixels(canvas, pixels) {
    const side = Math.sqrt(pixels.length);
    const size = canvas.width / side;
    const brush = canvas.getContext("2d");
    brush.setTransform(1, 0, 0, 1, 0, 0);
    brush.clearRect(0, 0, canvas.width, canvas.height);
    brush.fillStyle = getComputedStyle(canvas).color;
    pixels.forEach((dark, i) => {
      brush.globalAlpha = dark;
      brush.fillRect((i % side) * size, Math.floor(i / side) * size, size, size);
    });
    brush.globalAlpha = 1;
  }

  book.dom = { element, onThemeChange, paintPixels };
})(window.FusionBook);
