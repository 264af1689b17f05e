// The report's data and the words for it. Whatever is in the data is text: it reaches the page by
// textContent alone.
const report = JSON.parse(document.getElementById("report-data").textContent);

// In a notebook the running kernel adds what it alone knows: which cell a file name stands for, and
// the cells' lines.
const cellData = document.getElementById("report-cells");
const cells = cellData ? JSON.parse(cellData.textContent) : {};
for (const frame of report.frames) {
  if (frame.kind !== "python" || !Object.hasOwn(cells, frame.file)) continue;
  const cell = cells[frame.file];
  frame.source = cell.lines[frame.line - 1] || "";
  const place = "cell [" + cell.number + "]" + (frame.line ? " line " + frame.line : "");
  frame.label = frame.label.replace(frame.place, () => place);
  frame.place = place;
}
for (const line of report.lines) {
  if (line.frame != null) line.source = line.source || report.frames[line.frame].source || "";
}

const newest = report.refusals.length ? report.refusals[report.refusals.length - 1] : null;
const bound = newest ? newest.levels.find(level => level.binds) || null : null;

// Where something was refused most of what was held then is gone when the report is made.
const atRefusal = report.sites.refused_bytes.some(value => value > 0);

const byId = id => document.getElementById(id);

// make("p", {class: "note"}, "text", node, ...)
function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter(child => child != null && child !== ""));
  return node;
}

const KiB = 1024, MiB = 1024 * KiB, GiB = 1024 * MiB;

function bytes(value) {
  if (value == null) return "none";
  const size = Math.abs(value), sign = value < 0 ? "\u2212" : "";
  if (size >= 0.995 * GiB)
    return sign + (size / GiB).toFixed(size >= 100 * GiB ? 0 : size >= 9.95 * GiB ? 1 : 2) + " GiB";
  if (size >= 0.995 * MiB) return sign + (size / MiB).toFixed(size >= 9.95 * MiB ? 0 : 1) + " MiB";
  if (size >= KiB) return sign + (size / KiB).toFixed(0) + " KiB";
  return sign + Math.round(size) + " B";
}

const count = value => Math.round(value).toLocaleString("en-US");

function percent(part, whole) {
  if (!whole) return "0%";
  const share = 100 * part / whole;
  return share >= 9.95 ? share.toFixed(0) + "%" : share >= 0.05 ? share.toFixed(1) + "%" : "<0.1%";
}

function plural(number, one, many) {
  return count(number) + " " + (number === 1 ? one : many || one + "s");
}

const clock = new Intl.DateTimeFormat(
    undefined, {hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23"});
const day = new Intl.DateTimeFormat(undefined, {year: "numeric", month: "short", day: "numeric"});
const time = ns => clock.format(new Date(ns / 1e6));
const dateAndTime = ns => day.format(new Date(ns / 1e6)) + ", " + time(ns);

function duration(seconds) {
  if (seconds < 1) return Math.max(seconds, 0).toFixed(1) + " s";
  if (seconds < 120) return Math.round(seconds) + " s";
  if (seconds < 7200) return Math.round(seconds / 60) + " min";
  if (seconds < 48 * 3600) return (seconds / 3600).toFixed(1) + " h";
  return (seconds / 86400).toFixed(1) + " days";
}

const kinds = {
  "cgroup-v1": "container",
  "cgroup-v2": "container",
  "machine": "this machine's memory",
  "rlimit-as": "address space (ulimit -v)",
  "rlimit-data": "data (ulimit -d)",
  "budget": "budget",
};
const limitName = level => level.kind === "gpu" ? level.path : kinds[level.kind] || level.kind;

// A row of buttons of which one is pressed; `choose(value)` is called for each press.
function choices(box, entries, current, choose) {
  const buttons = entries.map(([value, label, disabled]) => {
    const button = make(
        "button", {type: "button", "aria-pressed": String(value === current), disabled}, label);
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      choose(value);
    });
    return button;
  });
  box.replaceChildren(...buttons);
}

const calm = matchMedia("(prefers-reduced-motion: reduce)");
const dark = matchMedia("(prefers-color-scheme: dark)");
const color = name =>
    getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
