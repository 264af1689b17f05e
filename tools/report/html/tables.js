// The tables: lines of code, checkpoint files, other processes, refusals, the environment.
function drawLines() {
  if (!report.lines.length) {
    byId("code").classList.add("empty");
    byId("code").querySelector(".note").textContent = "No call stacks were recorded.";
    byId("lines-more").remove();
    return;
  }
  const heldKey = atRefusal ? "refused_bytes" : "live_bytes";
  const columns = [
    {key: "place", label: "Line", text: true, value: line => placeOf(line).toLowerCase()},
    {
      key: heldKey,
      label: atRefusal ? "Held at the refusal" : heldWhen[0].toUpperCase() + heldWhen.slice(1),
      value: line => line[heldKey]
    },
    {
      key: "untouched_bytes",
      label: "Not filled yet",
      minor: true,
      value: line => line.untouched_bytes
    },
    {
      key: "allocated_bytes",
      label: "Allocated in all",
      minor: true,
      value: line => line.allocated_bytes
    },
    {key: "live_blocks", label: "Blocks", minor: true, value: line => line.live_blocks},
  ];
  const frameOf = line => line.frame == null ? null : report.frames[line.frame];
  const placeOf = line => line.frame == null ? "(no frame known)" : frameOf(line).place;
  const total = report.lines.reduce((sum, line) => sum + Math.max(0, line[heldKey]), 0);
  let sorted = heldKey, descending = true, shown = 40;
  const table = byId("lines"), body = make("tbody");
  const heads = columns.map(column => {
    const button = make("button", {type: "button"}, column.label);
    button.addEventListener("click", () => {
      descending = sorted === column.key ? !descending : !column.text;
      sorted = column.key;
      fill();
    });
    return make(
        "th", {
          scope: "col",
          class: (column.text ? "" : "number") + (column.minor ? " minor" : ""),
          "data-key": column.key
        },
        button);
  });
  table.append(
      make("caption", {class: "hidden"}, "Memory by line of code"),
      make("thead", null, make("tr", null, ...heads)), body);

  function row(line) {
    const frame = frameOf(line), name = frame && frame.function ? frame.function : "";
    const held = make("td", {class: "number"}, bytes(line[heldKey])), bar = make("i");
    bar.style.width = 100 * Math.max(0, line[heldKey]) / (total || 1) + "%";
    held.append(make("span", {class: "share", "aria-hidden": "true"}, bar));
    return make(
        "tr", {class: frame && frame.own ? "own" : ""},
        make(
            "td", {class: "place", title: frame ? framePlace(frame) : null},
            make("strong", null, placeOf(line)), make("small", null, name),
            line.source ? make("code", {class: "source"}, line.source) : ""),
        held,
        ...["untouched_bytes", "allocated_bytes"].map(
            key => make("td", {class: "number minor"}, line[key] ? bytes(line[key]) : "\u2013")),
        make("td", {class: "number minor"}, line.live_blocks ? count(line.live_blocks) : "\u2013"));
  }
  function fill() {
    const column = columns.find(one => one.key === sorted),
          wanted = byId("line-search").value.trim().toLowerCase();
    const lines = report.lines.filter(line => {
      const frame = frameOf(line);
      if (byId("line-own").checked && !(frame && frame.own)) return false;
      return !wanted ||
          (placeOf(line) + "\n" + (frame ? frame.label + "\n" + frame.file : "") + "\n" +
           line.source)
              .toLowerCase()
              .includes(wanted);
    });
    lines.sort((a, b) => {
      const x = column.value(a), y = column.value(b), order = x < y ? -1 : x > y ? 1 : 0;
      return descending ? -order : order;
    });
    for (const head of heads) {
      if (head.dataset.key === sorted)
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    body.replaceChildren(...lines.slice(0, shown).map(row));
    const more = byId("lines-more");
    more.replaceChildren();
    if (lines.length > shown) {
      const button =
          make("button", {type: "button"}, "Show " + Math.min(200, lines.length - shown) + " more");
      button.addEventListener("click", () => {
        shown += 200;
        fill();
      });
      more.append(button, count(lines.length) + " lines in all");
    } else if (!lines.length) {
      more.append("No line found.");
    }
  }
  byId("line-search").addEventListener("input", fill);
  byId("line-own").addEventListener("change", fill);
  fill();
}

function simpleTable(heads, rows) {
  return make(
      "div", {class: "scroll"},
      make(
          "table", null,
          make(
              "thead", null,
              make(
                  "tr", null,
                  ...heads.map(
                      ([label, number]) =>
                          make("th", {scope: "col", class: number ? "number" : ""}, label)))),
          make(
              "tbody", null,
              ...rows.map(
                  row => make(
                      "tr", null,
                      ...row.map(
                          (cell, i) =>
                              make("td", {class: heads[i][1] ? "number" : "place"}, cell)))))));
}

function drawModels() {
  if (!report.model_files.length) return byId("models").remove();
  const body = byId("models-body");
  body.append(simpleTable(
      [["File"], ["On disk", true], ["Mapped", true]],
      report.model_files.map(
          file =>
              [file.path, bytes(file.size_bytes),
               file.mapped_bytes ? bytes(file.mapped_bytes) : "\u2013"])));
  for (const fit of report.fits) {
    body.append(
        make("h3", null, "What would fit: " + (fit.folder || "this folder")),
        make(
            "p", {class: "note"},
            fit.room_bytes == null ? "Nothing limits the memory." :
                                     "There is room for " + bytes(fit.room_bytes) +
                    ": the limit, less what others hold."));
    body.append(simpleTable(
        [["Loaded with"], ["Needs", true], ["Fits", true], ["Read on each pass", true]],
        fit.ways.map(
            way =>
                [way.how, "~" + bytes(way.bytes),
                 make("span", {class: way.fits ? "yes" : "no"}, way.fits ? "yes" : "no"),
                 way.read_again_bytes ? "~" + bytes(way.read_again_bytes) : "\u2013"])));
  }
}

function drawOthers() {
  const all =
      newest ? newest.neighbours.slice().sort((a, b) => b.resident_bytes - a.resident_bytes) : [];
  if (!all.length) return byId("others").remove();
  byId("others-body")
      .append(simpleTable(
          [["Process"], ["Number", true], ["Resident", true], ["Guarded", true]],
          all.map(
              one =>
                  [one.name, String(one.pid), bytes(one.resident_bytes),
                   one.guarded ? "yes" : "no"])));
}

function drawEarlier() {
  if (!report.refusals.length) return byId("earlier").remove();
  const all = report.refusals.slice().reverse();
  if (report.session.refusals > all.length) {
    byId("earlier-body")
        .append(make(
            "p", {class: "note"},
            count(report.session.refusals) + " in all; the records of these are kept."));
  }
  byId("earlier-body")
      .append(simpleTable(
          [["When"], ["Asked for", true], ["By"], ["Where"], ["Shown", true]],
          all.map(
              one =>
                  [time(one.at_realtime_ns),
                   one.request === "touch" ? "being filled" : bytes(one.request_bytes),
                   one.module || "",
                   one.where || (one.thread_name ? "thread " + one.thread_name : ""),
                   one.surfaced ? "yes" : "no"])));
}

function drawEnvironment() {
  const session = report.session, pairs = byId("environment-pairs");
  const rows = [
    ["Program", session.program], ["Command", session.command], ["Python", session.python],
    ["oomguard", report.generated.version],
    ["Process", session.pid + ", started by " + session.parent_pid + ", " + session.state],
    ["Started", dateAndTime(session.start_realtime_ns)],
    ["Kernel's connection file", session.connection_file], ["Session file", session.file],
    ["Written", dateAndTime(report.generated.realtime_ns)]
  ];
  for (const [name, value] of rows)
    if (value) pairs.append(make("dt", null, name), make("dd", null, value));
  const levels = newest ? newest.levels : [];
  if (levels.length) {
    byId("limits").append(simpleTable(
        [
          ["Limit"], ["Bytes", true], ["In use", true], ["Can be given back", true],
          ["Swap left", true]
        ],
        levels.map(
            level =>
                [limitName(level) + (level.path ? " " + level.path : "") +
                     (level.binds ? " \u2014 this one binds" : ""),
                 bytes(level.limit_bytes), bytes(level.usage_bytes), bytes(level.reclaimable_bytes),
                 level.swap_room_bytes ? bytes(level.swap_room_bytes) : "\u2013"])));
  } else {
    byId("limits").append(make(
        "p", {class: "note"},
        session.limit_bytes == null ? "No limit." :
                                      bytes(session.limit_bytes) + " " + session.limit_path));
  }
  if (!report.modules.length) return byId("modules-box").remove();
  byId("modules").append(...report.modules.map(
      module =>
          make("li", null, module.path + (module.build_id ? " (" + module.build_id + ")" : ""))));
}

function drawFooter() {
  byId("footer").append(
      "More formats: ",
      make(
          "code", null,
          "oomguard report --format text|json|folded|speedscope " + report.session.file),
      make("br"), "Switch it off: ", make("code", null, "OOMGUARD=0"),
      report.session.is_kernel ? ", then restart the kernel." : ".");
}
