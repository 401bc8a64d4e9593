// Decisions by key, mouse and touch, and what the page says of them.

let importWarning = "", imageWarning = "";

function say(text) {
  field("live").textContent = text;
  field("acts-on").dataset.said = text;
}

function warn(text) {
  importWarning = text;
  showWarning();
}

function imagesMissing(kind, number) {
  const { files } = data.sheets[kind];
  imageWarning = files ? `Images are missing: ${files[number]} must lie beside this page.` : "An image sheet could not be decoded.";
  showWarning();
}

function showWarning() {
  const lines = [importWarning, imageWarning];
  if (!storageWorks) lines.push("This browser does not keep decisions: export decisions.csv before you close the page.");
  const text = lines.filter(Boolean).join(" ");
  field("warning").textContent = text;
  field("warning").hidden = !text;
}

// The findings that a decision is for: the selected ones, else the current one.
function targetRows() {
  if (!singleOpen() && selected.size) return view.filter((row) => selected.has(row));
  return currentRow() < 0 ? [] : [currentRow()];
}

function decide(decision) {
  act((row) => decisionChange(row, decision));
}

function decideLabel(label) {
  act((row) => labelChange(row, label));
}

function act(changeOf) {
  keepNoteOpen();
  const rows = targetRows();
  if (!rows.length) return say("no finding is shown");
  const several = !singleOpen() && selected.size > 0;
  const rowsChanged = applyChanges(rows.map(changeOf));
  selected.clear();
  changed(rowsChanged, rows.length === 1 ? outcomeText(rows[0]) : `${plural(rows.length, "finding")} decided`);
  if (several) selectionChanged();
  else advance();
  return undefined;
}

function advance() {
  if (singleOpen()) nextUndecided();
  else moveTo(current + 1);
}

function nextUndecided() {
  for (let place = current + 1; place < view.length; place++) if (!decisions[view[place]]) return moveTo(place);
  for (let place = 0; place < current; place++) if (!decisions[view[place]]) return moveTo(place);
  if (singleOpen()) showSingle();
  return say("no undecided finding is left in this view");
}

function undo() {
  const rows = undoStep();
  if (!rows.length) return say("nothing to undo");
  if (noteRow >= 0) field("single-note").value = notes[noteRow];
  const place = view.indexOf(rows[0]);
  changed(rows, rows.length === 1 ? `undone: ${outcomeText(rows[0])}` : `undone for ${plural(rows.length, "finding")}`);
  if (place >= 0) moveTo(place);
  return undefined;
}

function acceptTop() {
  const wanted = Math.max(0, Math.floor(Number(field("top-n").value) || 0));
  const rows = view.filter((row) => !decisions[row]).slice(0, wanted);
  changed(applyChanges(rows.map((row) => decisionChange(row, "suggestion"))), `suggestions of ${plural(rows.length, "finding")} taken`);
}

// The key of a place among the digit classes; classes that are called by digits have their own.
const namedByDigits = classes.length <= 10 && classes.every((name) => /^[0-9]$/.test(name));
const digitKey = (place) => (namedByDigits ? classes[place] : String((place + 1) % 10));

// Shows what became of some rows.
function changed(rows, what) {
  for (const row of rows) updateTile(row);
  if (singleOpen() && rows.includes(currentRow())) {
    const decision = field("single-decision");
    decision.textContent = outcomeText(currentRow());
    decision.dataset.decision = decisions[currentRow()];
  }
  updateEffect();
  updateMatrix();
  updateBar();
  say(what);
}

function updateEffect() {
  const { counts, wrongLeft, accepted } = effect();
  const kept = data.records - counts.drop;
  field("progress").max = Math.max(1, count);
  field("progress").value = count - counts.open;
  field("findings-left").textContent = counts.open.toLocaleString("en");
  field("findings-left-of").textContent = `of ${plural(count, "finding")} left`;
  field("wrong-left").textContent = `${Math.round(wrongLeft).toLocaleString("en")} (${kept ? (100 * wrongLeft / kept).toFixed(1) : "0.0"} %)`;
  const decided = counts.keep + counts.relabel + counts.drop;
  field("decided-counts").textContent = count === counts.open ? "" :
    `${counts.relabel} relabelled, ${counts.keep} kept, ${counts.drop} dropped, ${counts.unsure} unsure` +
    (decided ? `; ${percent(accepted / decided)} as suggested` : "");
}

// Classes of the keys 1..9 and 0: all where there are ten at most, else the likeliest for one finding.
function digitClasses() {
  if (classes.length <= 10) return [...classes.keys()];
  const rows = targetRows();
  if (rows.length !== 1) return [];
  const [row] = rows, given = data.given[row], all = data.neighbours;
  const near = all ? all.label.slice(row * all.count, (row + 1) * all.count) : [];
  const confused = [...pairCells.keys()].filter((key) => Math.floor(key / classes.length) === given)
    .sort((a, b) => (openPairs.get(b) || 0) - (openPairs.get(a) || 0)).map((key) => key % classes.length);
  const likely = [data.suggested[row], ...topClasses(row).map(([label]) => label), ...near, ...confused];
  return likely.filter((label, place) => label >= 0 && likely.indexOf(label) === place).slice(0, 9);
}

function updateBar() {
  const rows = targetRows(), one = rows.length === 1 ? rows[0] : -1;
  const several = !singleOpen() && selected.size;
  field("acts-on").textContent = several ? `${plural(rows.length, "finding")} selected` :
    one < 0 ? "" : `${classOf(data.given[one])} \u2192 ${classOf(data.suggested[one])}, ${outcomeText(one)}`;
  for (const id of ["keep", "suggestion", "drop", "unsure", "choose"]) field(id).disabled = !rows.length;
  field("undo").disabled = !steps.length;
  field("back").hidden = !singleOpen();
  const wanted = digitClasses(), box = field("digits");
  const key = wanted.join(",");
  if (box.dataset.classes !== key) {
    box.dataset.classes = key;
    box.replaceChildren(...wanted.map((label, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(named("kbd", digitKey(place)), " ", named("span", classes[label]));
      button.addEventListener("click", () => decideLabel(label));
      return button;
    }));
  }
  [...box.children].forEach((button, place) => button.classList.toggle("is-given", one >= 0 && wanted[place] === data.given[one]));
  const shown = view.length === count ? `All ${plural(count, "finding")}` : `${view.length.toLocaleString("en")} of ${plural(count, "finding")}`;
  if (field("shown").textContent !== shown) field("shown").textContent = shown;
}

function viewChanged() {
  const row = currentRow();
  keepNote();
  computeView();
  for (const one of [...selected]) if (!view.includes(one)) selected.delete(one);
  current = anchor = Math.max(0, view.indexOf(row));
  field("empty").hidden = view.length > 0;
  field("empty").textContent = count ? "No finding passes these filters." : "The audit has no findings: there is nothing to review.";
  if (singleOpen()) showSingle();
  else {
    layOutGrid();
    scrollToCurrent();
  }
  updateBar();
}

const KEYS = {
  k: () => decide("keep"), s: () => decide("suggestion"), d: () => decide("drop"), u: () => decide("unsure"),
  c: openChooser, z: undo, n: nextUndecided, e: exportDecisions, p: () => moveTo(current - 1),
  a: () => { if (!singleOpen()) selectRange(0, view.length - 1); },
  "?": () => help.showModal(),
  "/": () => { field("filters").open = true; field("filter-name").focus(); },
};

function moveBy(key) {
  const page = Math.max(1, Math.floor(grid.clientHeight / rowHeight())) * gridColumns;
  const inGrid = { ArrowDown: gridColumns, ArrowUp: -gridColumns, PageDown: page, PageUp: -page };
  const always = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity };
  return always[key] || (singleOpen() ? 0 : inGrid[key] || 0);
}

document.addEventListener("keydown", (event) => {
  const target = event.target;
  if (event.defaultPrevented || event.isComposing || chooser.open || help.open) return;
  if (target.matches("textarea, select, input:not([type=checkbox])")) {
    if (event.key === "Escape" || (event.key === "Enter" && target.id === "single-note")) {
      target.blur();
      (singleOpen() ? field("single-title") : grid).focus({ preventScroll: true });
      event.preventDefault();
    }
    return;
  }
  const letter = event.key.length === 1 ? event.key.toLowerCase() : "";
  if (event.ctrlKey || event.metaKey) {
    if (letter === "z") undo();
    else if (letter === "a" && !singleOpen()) KEYS.a();
    else return;
    event.preventDefault();
    return;
  }
  if (event.altKey) return;
  const onControl = target.closest("button, summary, input, a");
  if (onControl && (event.key === " " || event.key === "Enter")) return;
  const step = moveBy(event.key);
  if (step) moveTo(current + step, event.shiftKey && !singleOpen());
  else if (event.key === "Enter" && !singleOpen()) openSingle();
  else if (event.key === "Escape" && singleOpen()) closeSingle();
  else if (event.key === "Escape" && selected.size) { selected.clear(); selectionChanged(); }
  else if (event.key === " " && !singleOpen() && currentRow() >= 0) toggleSelected(currentRow());
  else if (!field("keys-on").checked) return;
  else if (/^[0-9]$/.test(event.key)) {
    const wanted = digitClasses(), place = wanted.findIndex((_, at) => digitKey(at) === event.key);
    if (place >= 0) decideLabel(wanted[place]);
    else say(wanted.length ? "no class at this key" : "press C to choose a class for several findings");
  } else if (KEYS[letter]) KEYS[letter]();
  else return;
  event.preventDefault();
});

for (const [id, decision] of [["keep", "keep"], ["suggestion", "suggestion"], ["drop", "drop"], ["unsure", "unsure"]]) {
  field(id).addEventListener("click", () => decide(decision));
}
field("choose").addEventListener("click", openChooser);
field("undo").addEventListener("click", undo);
field("back").addEventListener("click", closeSingle);
field("previous").addEventListener("click", () => moveTo(current - 1));
field("next").addEventListener("click", () => moveTo(current + 1));
field("accept-top").addEventListener("click", acceptTop);
field("select-all").addEventListener("click", () => KEYS.a());
for (const id of ["filter-status", "filter-given", "filter-suggested", "filter-source", "sort"]) field(id).addEventListener("change", viewChanged);
for (const id of ["filter-name", "filter-low", "filter-high"]) field(id).addEventListener("input", viewChanged);
field("filter-clear").addEventListener("click", () => { clearFilters(); viewChanged(); });
field("size").addEventListener("input", () => {
  tileSize = Number(field("size").value);
  layOutGrid();
  scrollToCurrent();
});
addEventListener("pagehide", () => { keepNoteOpen(); if (saveTimer) save(); });
addEventListener("beforeunload", (event) => { if (!storageWorks && !exportedAll) event.preventDefault(); });
addEventListener("storage", (event) => { // another tab decided
  if (event.key !== STORAGE_KEY) return;
  restore();
  updateEffect();
  updateMatrix();
  viewChanged();
});

restore();
fillFilterLists();
buildMatrix();
field("filters").open = matchMedia("(min-width: 900px)").matches;
updateEffect();
viewChanged();
showWarning();
grid.focus({ preventScroll: true });
