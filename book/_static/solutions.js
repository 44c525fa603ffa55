// A solution is folded until the reader opens it or prints the page: from its title, a bold line, to
// the cell that solves it, or else to the next exercise or the end of the section.
document.addEventListener("DOMContentLoaded", () => {
  const titled = (node, start) => node.matches("p") && node.textContent.startsWith(start);
  const titles = [...document.querySelectorAll("section > p")];
  for (const title of titles.filter((p) => titled(p, "Solution of exercise"))) {
    const details = document.createElement("details");
    const summary = document.createElement("summary");
    details.className = "solution";
    summary.textContent = title.textContent;
    title.replaceWith(details);
    details.append(summary);
    let next = details.nextElementSibling;
    while (next && !next.matches("section") && !titled(next, "Exercise ")) {
      details.append(next);
      next = next.matches(".tag_solution") ? null : details.nextElementSibling;
    }
  }
  matchMedia("print").addEventListener("change", (print) => {
    for (const details of document.querySelectorAll("details")) details.open ||= print.matches;
  });
});
