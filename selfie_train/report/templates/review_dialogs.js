// The chooser of any class, the help, export and import.

const CHOOSER_LINES = 200;
const chooser = field("chooser"), help = field("help");

function openChooser() {
  if (!targetRows().length) return;
  field("chooser-filter").value = "";
  fillChooser();
  chooser.showModal();
}

function fillChooser() {
  const text = field("chooser-filter").value.trim().toLowerCase();
  const rows = targetRows();
  const likely = rows.length === 1 ? topClasses(rows[0]).map(([label]) => label) : [];
  const ordered = [...likely, ...classes.keys()].filter((label, place, all) => all.indexOf(label) === place);
  const found = ordered.filter((label) => classes[label].toLowerCase().includes(text) || String(label) === text);
  field("chooser-list").replaceChildren(...found.slice(0, CHOOSER_LINES).map((label) => {
    const button = named("button", classes[label]);
    button.type = "button";
    button.addEventListener("click", () => {
      chooser.close();
      decideLabel(label);
    });
    return button;
  }));
  if (found.length > CHOOSER_LINES) field("chooser-list").append(named("p", `and ${found.length - CHOOSER_LINES} more: type a part of the name`, "soft"));
  if (!found.length) field("chooser-list").append(named("p", "no class of that name", "soft"));
}

field("chooser-filter").addEventListener("input", fillChooser);
field("chooser-filter").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  const first = field("chooser-list").querySelector("button");
  if (first) first.click();
});
field("chooser-close").addEventListener("click", () => chooser.close());
field("help-close").addEventListener("click", () => help.close());
field("help-button").addEventListener("click", () => help.showModal());

function exportDecisions() {
  keepNoteOpen();
  const { text, decided } = decisionsCsv();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = "decisions.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  exportedAll = true;
  showWarning();
  say(`${plural(decided, "decision")} exported to decisions.csv`);
}

// A note that is being typed counts too.
function keepNoteOpen() {
  const row = noteRow;
  keepNote();
  noteRow = row;
}

field("export").addEventListener("click", exportDecisions);
field("import").addEventListener("click", () => field("import-file").click());
field("import-file").addEventListener("change", async () => {
  const [file] = field("import-file").files;
  field("import-file").value = "";
  if (!file) return;
  const { changed: rows, taken, refused } = importCsv(await file.text());
  changed(rows, `${plural(taken, "decision")} imported from ${file.name}`);
  warn(refused.length ? `${plural(refused.length, "row")} of ${file.name} left out. ` + refused.slice(0, 3).join("; ") +
    (refused.length > 3 ? "; ..." : "") : "");
});

