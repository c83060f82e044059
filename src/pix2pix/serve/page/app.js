/* The page: a model, its sources, and the output that follows them. */

import { hasCamera, takePhoto } from "./camera.js";
import { Editor } from "./editor.js";
import { readPicture } from "./files.js";
import { Live } from "./live.js";
import { Output, save } from "./output.js";
import { Problem, formatBytes } from "./problem.js";
import { encodeRaster } from "./png.js";
import { Source, mostFrequent } from "./source.js";
import { Toolbox } from "./toolbox.js";

const byId = (id) => document.getElementById(id);
const HINTS = {
  labels: "The output appears here as you draw.",
  lines: "Draw on the left; the output appears here.",
  image: "Choose a picture; its output appears here.",
};

let backend;
let model;
let sources = [];
let active;
let seed = null;
let ready = false;
let exampleWanted = null;
let tellKnown;
const known = new Promise((resolve) => { tellKnown = resolve; }); // the models; the source is inert until then

const say = (words) => { byId("spoken").textContent = words; };
const toolbox = new Toolbox(byId("tools"), () => editor?.paintOverlay());
const editor = new Editor(byId("canvas"), byId("overlay"), {
  tool: () => toolbox.tool,
  say,
  moved: (words) => { byId("cursor-facts").textContent = words; },
});
const output = new Output(beneath);
const live = new Live(translate, {
  working: (on) => output.working(on),
  answer: (result) => output.show(result).then(() => say("The output is ready."), (problem) => report(problem, null)),
  failure: (problem, seconds) => report(problem, seconds),
});

// ---- models -----------------------------------------------------------------------------------------------------------

async function start() {
  const kind = document.querySelector("meta[name=backend]").content;
  const { connect } = await import(`./backend_${kind}.js`);
  for (;;) {
    try {
      backend = await connect();
      break;
    } catch (problem) {
      report(problem);
      if (!problem.retry) return;
      await new Promise((resolve) => { setTimeout(resolve, problem.retry * 1000); });
    }
  }
  const select = byId("model");
  select.replaceChildren(...backend.models.map(({ name }) => new Option(name, name)));
  select.hidden = backend.models.length < 2;
  byId("model-name").hidden = !select.hidden;
  window.addEventListener("hashchange", () => {
    const wanted = modelInAddress();
    if (wanted && wanted !== model) choose(wanted).catch((problem) => report(problem));
  });
  await choose(modelInAddress() ?? backend.models[0]);
}

/** Find the model whose name stands in the address behind #. */
function modelInAddress() {
  return backend.models.find(({ name }) => `#${encodeURIComponent(name)}` === location.hash);
}

/** Show another model: its tools, its examples, its first example. */
async function choose(wanted) {
  model = wanted;
  ready = false;
  seed = null;
  live.drop();
  byId("model").value = model.name;
  byId("model-name").textContent = model.name;
  byId("task").textContent = (model.task ?? "").replace("->", "→");
  document.title = `${model.name} · pix2pix`;
  byId("dice").hidden = !model.noise;
  sources = model.sources.map((spec) => new Source(spec, model.image_size));
  for (const source of sources) source.addEventListener("change", (event) => changed(source, event.detail));
  listSources();
  listExamples();
  activate(sources[0]);
  byId("source").inert = false;
  tellKnown();
  output.offer("target", false);
  output.clear(HINTS[active.spec.kind]);
  await prepare();
}

/** Load the model; meanwhile a person may draw or choose a picture already. */
async function prepare() {
  const wanted = model;
  await backend.prepare(model, (words, share) => output.loading(words, share));
  if (model !== wanted) return;
  ready = true;
  byId("note").textContent = backend.note;
  output.clear(HINTS[active.spec.kind]);
  if (sources.every((source) => source.empty)) await startPicture();
  else changed(active, null);
}

async function startPicture() {
  const wanted = model;
  if (model.examples?.length) await loadExample(model.examples[0]).catch((problem) => report(problem));
  if (wanted !== model) return;
  for (const source of sources) if (source.empty && source.drawn) source.startBlank(source.size[1], source.size[0]);
  for (const source of sources) source.history = new source.history.constructor();
  showHistory();
}

// ---- sources ----------------------------------------------------------------------------------------------------------

function listSources() {
  const tabs = byId("source-tabs");
  tabs.hidden = sources.length < 2;
  for (const label of tabs.querySelectorAll("label")) label.remove();
  sources.forEach((source, index) => {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "source", checked: index === 0 });
    input.addEventListener("change", () => activate(source));
    label.append(input, Object.assign(document.createElement("span"), { textContent: source.spec.name ?? `source ${index + 1}` }));
    tabs.append(label);
  });
}

function activate(source) {
  active = source;
  const kind = source.drawn ? source.spec.kind : "image";
  document.body.dataset.kind = kind;
  for (const element of document.querySelectorAll("[data-for]")) element.hidden = !element.dataset.for.split(" ").includes(kind);
  byId("tools").hidden = !source.drawn;
  byId("canvas").tabIndex = source.drawn ? 0 : -1;
  byId("canvas").setAttribute("role", source.drawn ? "application" : "img");
  const photos = hasCamera && source.spec.dtype === "uint8" && source.spec.channels <= 3; // a camera gives no other values
  byId("photo").hidden = !photos;
  byId("camera").hidden ||= !photos;
  if (source.drawn) toolbox.show(source);
  showSource(source, null);
  if (output.result) output.showView();
}

function changed(source, area) {
  if (source === active) showSource(source, area);
  output.offer("target", Boolean(target()));
  if (!ready) return;
  if (sources.some((each) => each.empty)) {
    const missing = sources.filter((each) => each.empty).map((each) => each.spec.name);
    output.clear(sources.length > 1 ? `Still to choose: ${missing.join(", ")}.` : HINTS[active.spec.kind]);
    return;
  }
  if (area) live.changed();
  else {
    live.drop();
    live.now();
  }
}

function showSource(source, area) {
  const { raster, file } = source.content;
  byId("source-picture").hidden = !raster;
  byId("source-blank").hidden = Boolean(raster || file);
  byId("source-file").hidden = Boolean(raster || !file);
  if (raster) {
    byId("source-stage").style.setProperty("--ratio", raster.width / raster.height);
    if (!area || !output.result) byId("output-stage").style.setProperty("--ratio", raster.width / raster.height);
    editor.show(source, area);
  } else if (file) {
    byId("file-name").textContent = file.name;
    byId("file-note").textContent = `${formatBytes(file.blob.size)}. Browsers do not show it as the model reads it.`;
  }
  output.offer("source", Boolean(raster));
  byId("source-facts").textContent = raster ? `${raster.width} × ${raster.height}${file ? ` · ${file.name}` : ""}` : "";
  showHistory();
}

function showHistory() {
  byId("undo").disabled = !active.history.done.length;
  byId("redo").disabled = !active.history.undone.length;
}

function undo() {
  if (editor.stroke) editor.giveUp();
  else if (active.history.undo()) say("Undone.");
  showHistory();
}

function redo() {
  if (active.history.redo()) say("Redone.");
  showHistory();
}

/** Take a file, pasted picture or photo as the active source. */
async function take(file) {
  if (!file) return;
  await known;
  const source = active;
  const { blob, name, raster } = await readPicture(file, model.limits);
  if (!sources.includes(source)) return; // another model was chosen meanwhile
  exampleWanted = null; // none that still loads takes its place
  source.replace({ raster, file: { blob, name } });
  say(`${name} is the source.`);
}

function target() {
  return sources.find((source) => source.content.target)?.content.target ?? null;
}

// ---- examples ---------------------------------------------------------------------------------------------------------

function listExamples() {
  const examples = model.examples ?? [];
  byId("examples").hidden = !examples.length;
  byId("example-list").replaceChildren(...examples.map((example, index) => {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    const image = Object.assign(document.createElement("img"), {
      src: backend.address(paths(example)[0]).href, alt: `Example ${index + 1}`, loading: "lazy", decoding: "async",
    });
    if (model.sources[0].kind === "labels") image.className = "pixelated"; // thin lines would lose pixels
    image.addEventListener("error", () => { button.textContent = `Example ${index + 1}`; });
    button.append(image);
    button.addEventListener("click", () => {
      window.scrollTo({ top: 0 }); // on a phone the examples are below; source and output are above
      loadExample(example).catch((problem) => report(problem));
    });
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
}

/** List an example's source files, one for each source of the model. */
function paths(example) {
  return model.sources.map(({ name }) => example[name]);
}

async function loadExample(example) {
  const wanted = model;
  exampleWanted = example;
  const contents = await Promise.all(paths(example).map(async (path, index) => {
    const response = await fetch(backend.address(path)).catch(() => null);
    if (!response?.ok) throw new Problem("The example cannot be loaded", "The server does not answer. Draw, or choose a file.");
    const name = path.split("/").pop();
    const { blob, raster } = await readPicture(new File([await response.blob()], name), null);
    const goal = index === 0 && example.target ? backend.address(example.target).href : null;
    return { raster, file: { blob, name }, target: goal };
  }));
  if (wanted !== model || exampleWanted !== example) return; // another one was chosen meanwhile
  contents.forEach((content, index) => {
    const { spec, drawn } = sources[index];
    if (drawn && spec.kind === "labels" && !spec.background) {
      sources[index].background = mostFrequent(content.raster, spec.classes) ?? sources[index].background;
    }
    sources[index].replace(content);
  });
}

// ---- output -----------------------------------------------------------------------------------------------------------

async function translate(signal) {
  const asked = { model, seed };
  const encoded = await Promise.all(sources.map((source) => source.encode()));
  const total = encoded.reduce((sum, blob) => sum + blob.size, 0);
  if (model.limits && total > model.limits.bytes) {
    throw new Problem("The picture is too large", `It has ${formatBytes(total)}; at most ${formatBytes(model.limits.bytes)} are taken.`);
  }
  const answer = await backend.translate(model, encoded, { seed: asked.seed, drawn: sources.every((source) => !source.content.file), signal });
  return {
    ...answer,
    seed: asked.seed,
    name: model.name,
    alt: `Output of ${model.name}`,
    pixelated: model.target.kind === "labels",
  };
}

/** Find the picture to compare the output with. */
async function beneath(view) {
  if (view === "source") return { picture: active.raster ? byId("canvas") : null, name: "source" };
  const address = target();
  if (!address) return null;
  const image = new Image();
  image.src = address;
  await image.decode();
  return { picture: image, name: "target" };
}

function report(problem, seconds) {
  if (!(problem instanceof Problem)) console.error(problem);
  const words = problem instanceof Problem ? problem : { title: "Something went wrong", detail: String(problem.message ?? problem) };
  output.fail(words, sources.length > 0 && !words.final && (seconds !== undefined || !ready));
}

// ---- what a person does -----------------------------------------------------------------------------------------------

function listen(id, act) {
  byId(id).addEventListener("click", () => Promise.resolve(act()).catch((problem) => report(problem)));
}

listen("undo", undo);
listen("redo", redo);
listen("retry", () => {
  output.clearProblem();
  if (ready) live.now();
  else return prepare();
});
listen("dice", () => { seed = crypto.getRandomValues(new Uint32Array(1))[0] % 10000; live.now(); });
listen("save", async () => save(await encodeRaster(active.raster, active.spec.channels), `${model.name}-source.png`));
for (const id of ["open", "choose"]) listen(id, () => byId("file").click());
for (const id of ["camera", "photo"]) listen(id, async () => take(await takePhoto(byId("camera-dialog"), model.image_size)));
listen("paste", async () => {
  const items = await navigator.clipboard?.read?.().catch(() => null);
  const item = items?.find((each) => each.types.some((type) => type.startsWith("image/")));
  if (!item) throw new Problem("Nothing to paste", "Copy a picture first and let the browser read it, or press Ctrl+V on this page.");
  await take(new File([await item.getType(item.types.find((type) => type.startsWith("image/")))], "The pasted picture"));
});
listen("help-open", () => byId("help").showModal());
listen("new", () => {
  const [height, width] = active.raster ? [active.raster.height, active.raster.width] : active.size;
  Object.assign(byId("new-width"), { value: width, max: 8192 });
  Object.assign(byId("new-height"), { value: height, max: 8192 });
  byId("new-note").textContent = `The model was trained on ${active.size[1]} × ${active.size[0]}. The drawing there now can be had back with Undo.`;
  byId("new-dialog").showModal();
});
byId("new-form").addEventListener("submit", (event) => {
  if (event.submitter?.value !== "create") return;
  const [width, height] = [Number(byId("new-width").value), Number(byId("new-height").value)];
  if (model.limits && width * height > model.limits.pixels) {
    report(new Problem("The drawing is too large", `${width} × ${height} pixels; at most ${(model.limits.pixels / 1e6).toFixed(1)} million are taken.`));
  } else active.startBlank(width, height);
});
byId("file").addEventListener("change", (event) => {
  take(event.target.files[0]).catch((problem) => report(problem));
  event.target.value = "";
});
byId("model").addEventListener("change", (event) => {
  history.replaceState(null, "", `#${encodeURIComponent(event.target.value)}`);
  choose(backend.models.find(({ name }) => name === event.target.value)).catch((problem) => report(problem));
});
byId("canvas").addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !active.drawn) return;
  const words = toolbox.key(event.key);
  if (words) say(words);
});

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches?.("input[type=number], input[type=text]");
  if (!(event.ctrlKey || event.metaKey) || typing || !active || document.querySelector("dialog[open]")) return;
  const key = event.key.toLowerCase();
  if (key !== "z" && key !== "y") return;
  event.preventDefault();
  if (key === "y" || event.shiftKey) redo();
  else undo();
});
document.addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])][0];
  if (file) take(file).catch((problem) => report(problem));
});
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    byId("veil").classList.add("shown");
  });
}
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) byId("veil").classList.remove("shown"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  byId("veil").classList.remove("shown");
  take(event.dataTransfer.files[0]).catch((problem) => report(problem));
});

start().catch((problem) => report(problem));
