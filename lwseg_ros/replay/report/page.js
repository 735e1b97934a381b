"use strict";
document.documentElement.classList.add("scripted");
document.querySelectorAll("[data-scripted]").forEach((element) => (element.hidden = false));

// Tables: a click on a head sorts by its column, another one the other way; rows without a value stay last.
function sortBy(head) {
  const table = head.closest("table"), column = head.cellIndex, body = table.tBodies[0];
  const direction = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
  const value = (row) => {
    const cell = row.cells[column], text = cell.dataset.sort ?? cell.textContent.trim();
    return text === "" || text === "None" ? null : Number.isNaN(parseFloat(text)) ? text : parseFloat(text);
  };
  const rows = [...body.rows].map((row) => [value(row), row]);
  rows.sort(([a], [b]) => (a === null) - (b === null) || direction * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b))));
  table.querySelectorAll("th").forEach((each) => each.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
  body.append(...rows.map(([, row]) => row));
}
document.querySelectorAll("table.sortable th").forEach((head) => {
  head.tabIndex = 0;
  head.addEventListener("click", () => sortBy(head));
  head.addEventListener("keydown", (event) => { if (event.key === "Enter") sortBy(head); });
});

const overlay = document.getElementById("overlay");
overlay?.addEventListener("input", () => document.documentElement.style.setProperty("--overlay", overlay.value));

// Timeline: the pointer shows the figures of a frame, a click its picture, or that of the nearest frame that has one.
const timeline = document.querySelector("[data-timeline]"), viewer = document.getElementById("viewer");
if (timeline) {
  const data = JSON.parse(document.getElementById("rows").textContent);
  const names = { pixel_accuracy: "pixel accuracy", miou: "mIoU", mean_uncertainty: "mean uncertainty", accepted_share: "accepted", latency_ms: "latency" };
  const kept = [...document.querySelectorAll("article.frame")].map((article) => Number(article.dataset.frame));
  const plots = [...timeline.querySelectorAll(".plot")];
  const cursors = plots.map((plot) => plot.appendChild(Object.assign(document.createElement("div"), { className: "cursor", hidden: true })));
  const marks = plots.map((plot) => plot.appendChild(Object.assign(document.createElement("div"), { className: "cursor chosen", hidden: true })));
  let chosen = null;

  const shown = (name, row) => {
    const value = data[name][row];
    return value === null ? "none" : name === "latency_ms" ? `${value.toFixed(1)} ms` : `${(value * 100).toFixed(1)} %`;
  };
  const move = (lines, row) => {
    const left = `${(((row * data.step + 0.5) / data.count) * 100).toFixed(3)}%`;
    lines.forEach((each) => { each.hidden = false; each.style.left = left; });
  };
  const under = (event) => {
    const box = plots[0].getBoundingClientRect(), share = (event.clientX - box.left) / box.width;
    return Math.max(0, Math.min(data.time_s.length - 1, Math.floor((share * data.count) / data.step)));
  };
  const read = (row) => timeline.querySelectorAll("[data-value]").forEach((element) => {
    element.textContent = row === null ? "" : `frame ${row * data.step}: ${shown(element.dataset.value, row)}`;
  });
  const choose = (row) => {
    chosen = row;
    const index = row * data.step, facts = Object.keys(names).filter((name) => data[name]).map((name) => [names[name], shown(name, row)]);
    if (data.cause[row]) facts.push(["no label", data.cause[row]]);
    viewer.replaceChildren();
    const title = document.createElement("h2");
    title.textContent = `Frame ${index}, ${data.time_s[row].toFixed(2)} s`;
    const list = document.createElement("dl");
    for (const [name, value] of facts) {
      const pair = list.appendChild(document.createElement("div"));
      pair.appendChild(document.createElement("dt")).textContent = name;
      pair.appendChild(document.createElement("dd")).textContent = value;
    }
    viewer.append(title, list);
    if (kept.length) {
      const nearest = kept.reduce((best, each) => (Math.abs(each - index) < Math.abs(best - index) ? each : best));
      const copy = document.getElementById(`frame-${nearest}`).cloneNode(true);
      copy.removeAttribute("id");
      if (nearest !== index) {
        const note = document.createElement("p");
        note.className = "note";
        note.textContent = `No picture of it is kept. The nearest one, ${nearest < index ? "earlier" : "later"} by ${Math.abs(nearest - index)}:`;
        viewer.append(note);
      }
      viewer.append(copy);
    }
    viewer.hidden = false;
    move(marks, row);
    read(row);
  };
  timeline.tabIndex = 0;
  timeline.addEventListener("pointermove", (event) => { const row = under(event); move(cursors, row); read(row); });
  timeline.addEventListener("pointerleave", () => { cursors.forEach((each) => (each.hidden = true)); read(chosen); });
  timeline.addEventListener("click", (event) => choose(under(event)));
  timeline.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    choose(Math.max(0, Math.min(data.time_s.length - 1, (chosen ?? -1) + step)));
  });
  document.querySelectorAll("[data-show]").forEach((button) => button.addEventListener("click", () => {
    choose(Math.min(data.time_s.length - 1, Math.round(Number(button.dataset.show) / data.step)));
    viewer.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }));
}
