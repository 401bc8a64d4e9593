// The findings, what was decided about each, undo, and what the browser remembers.

const data = JSON.parse(document.getElementById("data").textContent);
const count = data.index.length;
const classes = data.classes;
const DECISIONS = ["keep", "relabel", "drop", "unsure"];
const CSV_COLUMNS = ["name", "record_id", "index", "given_label", "decision", "label", "note"];
const STORAGE_KEY = "selfie-review " + data.digest;

const decisions = new Array(count).fill("");  // "" or one of DECISIONS
const labels = Int32Array.from(data.given);    // the label that the decision gives; -1: dropped
const notes = new Array(count).fill("");
const steps = [];                              // undo steps, each [[row, decision, label, note], ...] as it was before
let storageWorks = true;
let exportedAll = true;                        // nothing was decided since the last export
let saveTimer = 0;

const nameOf = (row) => (data.names && data.names[row] !== null ? data.names[row] : "");
const classOf = (label) => (label < 0 ? "(no label)" : classes[label]);
const percent = (share) => (share >= 0.9995 ? "100" : (100 * share).toFixed(share >= 0.0995 ? 0 : 1)) + " %";
const plural = (number, word) => number.toLocaleString("en") + " " + word + (number === 1 ? "" : "s");

// changes: [[row, decision, label, note], ...]; returns the rows that changed.
function applyChanges(changes) {
  const before = [];
  for (const [row, decision, label, note] of changes) {
    if (decisions[row] === decision && labels[row] === label && notes[row] === note) continue;
    before.push([row, decisions[row], labels[row], notes[row]]);
    decisions[row] = decision;
    labels[row] = label;
    notes[row] = note;
  }
  if (before.length) {
    steps.push(before);
    exportedAll = false;
    saveSoon();
  }
  return before.map((change) => change[0]);
}

function undoStep() {
  const step = steps.pop();
  if (!step) return [];
  for (const [row, decision, label, note] of step) {
    decisions[row] = decision;
    labels[row] = label;
    notes[row] = note;
  }
  exportedAll = false;
  saveSoon();
  return step.map((change) => change[0]);
}

// The change that gives `row` the class `label`: keeping it, where that is the given one.
function labelChange(row, label) {
  return [row, label === data.given[row] ? "keep" : "relabel", label, notes[row]];
}

function decisionChange(row, decision) {
  if (decision === "suggestion") return labelChange(row, data.suggested[row]);
  return [row, decision, decision === "drop" ? -1 : data.given[row], notes[row]];
}

// Decided findings by kind, and the wrong labels expected among all that is not decided.
function effect() {
  const counts = { keep: 0, relabel: 0, drop: 0, unsure: 0, open: 0 };
  let wrongLeft = data.estimatedWrong, accepted = 0;
  for (let row = 0; row < count; row++) {
    const decision = decisions[row];
    counts[decision || "open"]++;
    if (decision && decision !== "unsure") wrongLeft -= data.score[row];
    if (decision === "relabel" && labels[row] === data.suggested[row]) accepted++;
  }
  return { counts, wrongLeft: Math.max(0, wrongLeft), accepted };
}

function saveSoon() {
  if (!saveTimer) saveTimer = setTimeout(save, 300);
}

function save() {
  clearTimeout(saveTimer);
  saveTimer = 0;
  const kept = [];
  for (let row = 0; row < count; row++) {
    if (decisions[row] || notes[row]) kept.push([data.index[row], data.recordId[row], decisions[row], labels[row], notes[row]]);
  }
  try {
    localStorage.setItem(STORAGE_KEY, JSON.stringify({ format: 1, decisions: kept }));
    storageWorks = true;
  } catch {
    storageWorks = false;
  }
  showWarning();
}

// What another visit decided; damaged or foreign content counts as none.
function restore() {
  let kept = [];
  try {
    localStorage.setItem(STORAGE_KEY + " probe", "1");
    localStorage.removeItem(STORAGE_KEY + " probe");
    kept = JSON.parse(localStorage.getItem(STORAGE_KEY) || "{}").decisions || [];
  } catch (error) {
    storageWorks = error instanceof SyntaxError;
  }
  decisions.fill("");
  notes.fill("");
  labels.set(data.given);
  steps.length = 0;
  if (!Array.isArray(kept)) return;
  const places = new Map(data.index.map((index, row) => [index, row]));
  for (const entry of kept) {
    if (!Array.isArray(entry)) continue;
    const [index, recordId, decision, label, note] = entry;
    const row = places.get(index);
    if (row === undefined || data.recordId[row] !== recordId || !validDecision(decision, label)) continue;
    decisions[row] = decision;
    labels[row] = decision === "relabel" || decision === "drop" ? label : data.given[row];
    notes[row] = typeof note === "string" ? note : "";
  }
}

function validDecision(decision, label) {
  if (decision === "relabel") return Number.isInteger(label) && label >= 0 && label < classes.length;
  if (decision === "drop") return label === -1;
  return decision === "" || decision === "keep" || decision === "unsure";
}

function decisionsCsv() {
  const rows = [CSV_COLUMNS];
  const decided = [];
  for (let row = 0; row < count; row++) if (decisions[row]) decided.push(row);
  decided.sort((a, b) => data.index[a] - data.index[b]);
  for (const row of decided) {
    rows.push([nameOf(row), data.recordId[row], data.index[row], data.given[row], decisions[row], labels[row], notes[row]]);
  }
  return { text: writeCsv(rows), decided: decided.length };
}

// Takes the decisions of a CSV as one step; returns { changed rows, taken, refused: ["row 3: why", ...] }.
function importCsv(text) {
  const [header, ...rows] = parseCsv(text);
  const columns = (header || []).map((cell) => cell.trim().toLowerCase());
  const at = Object.fromEntries(CSV_COLUMNS.map((column) => [column, columns.indexOf(column)]));
  if (at.decision < 0 || (at.index < 0 && at.record_id < 0 && at.name < 0)) {
    return { changed: [], taken: 0, refused: ["the header must name decision and one of index, record_id, name"] };
  }
  const byIndex = new Map(data.index.map((index, row) => [index, row]));
  const byId = uniquePlaces(data.recordId), byName = uniquePlaces(data.names || []);
  const changes = [], refused = [];
  rows.forEach((cells, number) => {
    const get = (column) => (at[column] < 0 || cells[at[column]] === undefined ? "" : originalCell(cells[at[column]]));
    const whole = (column) => (/^-?\d+$/.test(get(column).trim()) ? Number(get(column)) : null);
    const refuse = (why) => refused.push(`row ${number + 2}: ${why}`);
    let row;
    if (at.index >= 0 && get("index") !== "") row = byIndex.get(whole("index"));
    else if (at.record_id >= 0 && get("record_id") !== "") row = byId.get(whole("record_id"));
    else row = byName.get(get("name"));
    if (row === undefined) return refuse("no finding of this page");
    if (get("record_id") !== "" && whole("record_id") !== data.recordId[row]) return refuse("another record_id");
    if (get("given_label") !== "" && labelNumber(get("given_label")) !== data.given[row]) return refuse("another given label");
    const decision = get("decision").trim().toLowerCase();
    if (!DECISIONS.includes(decision)) return refuse(`the decision ${JSON.stringify(decision)} is none of ${DECISIONS.join(", ")}`);
    let [, , label] = decisionChange(row, decision);
    if (decision === "relabel") label = labelNumber(get("label"));
    if (!validDecision(decision, label)) return refuse(`no class ${JSON.stringify(get("label"))}`);
    changes.push([row, decision, label, get("note")]);
  });
  return { changed: applyChanges(changes), taken: changes.length, refused };
}

// A class by its number, else by its name; -2 where it is neither.
function labelNumber(text) {
  if (/^\s*\d+\s*$/.test(text)) return Number(text);
  const named = classes.indexOf(text);
  return named >= 0 && classes.lastIndexOf(text) === named ? named : -2;
}

function uniquePlaces(values) {
  const places = new Map();
  values.forEach((value, row) => places.set(value, places.has(value) ? undefined : row));
  return places;
}

