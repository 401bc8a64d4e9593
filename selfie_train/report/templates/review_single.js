// One finding, enlarged: its labels, why it is here, its neighbours, a note.

const single = field("single");

const singleOpen = () => !single.hidden;

function openSingle() {
  if (!view.length) return;
  grid.hidden = true;
  field("viewbar").hidden = true;
  single.hidden = false;
  document.body.classList.add("one");
  showSingle();
  updateBar();
  field("single-title").focus({ preventScroll: true });
}

function closeSingle() {
  if (!singleOpen()) return;
  keepNote();
  single.hidden = true;
  grid.hidden = false;
  field("viewbar").hidden = false;
  document.body.classList.remove("one");
  layOutGrid();
  scrollToCurrent();
  updateBar();
  grid.focus({ preventScroll: true });
}

function item(text, className = "") {
  const element = document.createElement("li");
  element.textContent = text;
  element.className = className;
  return element;
}

function named(tag, text, className = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  element.className = className;
  return element;
}

let noteRow = -1;

function showSingle() {
  const row = currentRow();
  if (row < 0) return closeSingle();
  if (noteRow !== row) keepNote();
  const large = field("large"), given = classOf(data.given[row]), suggested = classOf(data.suggested[row]);
  drawSprite(large, "findings", row);
  large.setAttribute("aria-label", `The image, labelled ${given}`);
  const sheets = data.sheets.findings;
  large.style.setProperty("--ratio", sheets.width / sheets.height);
  field("single-title").textContent = `${(current + 1).toLocaleString("en")} of ${view.length.toLocaleString("en")}`;
  field("single-name").textContent = `${nameOf(row) ? nameOf(row) + ", " : ""}record ${data.recordId[row]}, index ${data.index[row]}`;
  field("single-labels").replaceChildren(
    named("span", given, "given"), " \u2192 ", named("span", suggested, "new"),
    named("span", ` the given label is wrong with probability ${percent(data.score[row])}`, "soft"));
  const decision = field("single-decision");
  decision.textContent = decisions[row] ? outcomeText(row) : "undecided";
  decision.dataset.decision = decisions[row];
  field("single-top").replaceChildren(...topClasses(row).map(([label, share]) => {
    const line = item("", label === data.given[row] ? "is-given" : "");
    line.style.setProperty("--share", `${Math.round(100 * share)}%`);
    line.append(named("span", classes[label] + (label === data.given[row] ? " (given)" : "")), named("span", percent(share), "number"));
    return line;
  }));
  field("single-why").replaceChildren(...whyHere(row));
  showNeighbours(row);
  field("single-note").value = notes[row];
  noteRow = row;
}

function topClasses(row) {
  const m = data.topCount, found = [];
  for (let place = row * m; place < (row + 1) * m; place++) found.push([data.topClasses[place], data.topProbabilities[place]]);
  return found;
}

function whyHere(row) {
  const lines = data.sources.filter((source) => source.words[source.word[row]] !== "")
    .map((source) => item(`${source.name}: ${source.words[source.word[row]]}`));
  if (data.duplicates && data.duplicates[row]) lines.push(item(data.duplicates[row], "duplicate"));
  if (!data.flagged[row]) lines.push(item("below the audit's threshold", "soft"));
  return lines.length ? lines : [item("its score is above the audit's threshold")];
}

function showNeighbours(row) {
  const all = data.neighbours;
  field("single-neighbours-part").hidden = !all;
  if (!all) return;
  const list = [];
  for (let place = row * all.count; place < (row + 1) * all.count; place++) {
    if (all.index[place] < 0) continue;
    const label = all.label[place], line = item("", label === data.given[row] ? "is-given" : "");
    if (all.sprite && all.sprite[place] >= 0) {
      const canvas = document.createElement("canvas");
      canvas.setAttribute("aria-hidden", "true");
      line.append(canvas);
      drawSprite(canvas, "neighbours", all.sprite[place]);
    }
    line.append(named("span", classOf(label)));
    line.title = `index ${all.index[place]}`;
    list.push(line);
  }
  field("single-neighbours").replaceChildren(...list);
}

// The note as typed belongs to the finding that was shown; it is kept before another one is.
function keepNote() {
  if (noteRow < 0) return;
  const row = noteRow, note = field("single-note").value;
  noteRow = -1;
  if (note !== notes[row]) changed(applyChanges([[row, decisions[row], labels[row], note]]), "note kept");
}

field("single-note").addEventListener("change", () => {
  const row = noteRow;
  keepNote();
  noteRow = row;
});

let touchStart = null;
single.addEventListener("touchstart", (event) => {
  touchStart = event.touches.length === 1 ? [event.touches[0].clientX, event.touches[0].clientY] : null;
}, { passive: true });
single.addEventListener("touchend", (event) => {
  if (!touchStart) return;
  const across = event.changedTouches[0].clientX - touchStart[0], down = event.changedTouches[0].clientY - touchStart[1];
  if (Math.abs(across) > 60 && Math.abs(across) > 2 * Math.abs(down)) moveTo(current + (across < 0 ? 1 : -1));
  touchStart = null;
}, { passive: true });

