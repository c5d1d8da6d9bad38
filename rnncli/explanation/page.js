// The page of `rnn explain`: tables of a step, and the states over time as strips of colour.
// page.py writes the data: the steps as JSON has them, and the matrices of each cell by name.

const $ = (id) => document.getElementById(id);
const packed = Uint8Array.from(atob($("data").textContent), (c) => c.charCodeAt(0));
const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
const { steps, weights, columns, unit: wanted } = await new Response(stream).json();
const taken = steps.filter(({ layers }) => layers.length); // a masked row has none
const SMALL = 8; // units of a table that shows all digits, and rows of a matrix that is open
const exact = (value) => {
  if (value === null) return "missing";
  const text = Object.is(value, -0) ? "-0" : String(value);
  return /^-?\d+$/.test(text) ? `${text}.0` : text;
};

const brief = (value) => value?.toPrecision(3) ?? "–";
const largest = (rows) =>
  rows.reduce((most, row) => (row ?? []).reduce((m, value) => Math.max(m, Math.abs(value)), most), 0);

const dark = matchMedia("(prefers-color-scheme: dark)");
const style = getComputedStyle(document.documentElement);
const [negative, zero, positive] = ["--negative", "--zero", "--positive"].map((name) => {
  const hex = style.getPropertyValue(name).match(/#\w+/g)[dark.matches ? 1 : 0];
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
});

const colour = (value, scale) => {
  const share = Math.min(1, Math.abs(value) / scale) || 0;
  const end = value < 0 ? negative : positive;
  return zero.map((part, i) => Math.round(part + share * (end[i] - part)));
};

const paint = (node, value, scale) => {
  const rgb = colour(value, scale);
  const [r, g, b] = rgb.map((part) => ((part / 255 + 0.055) / 1.055) ** 2.4);
  node.style.background = `rgb(${rgb})`;
  node.style.color = 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff"; // contrast
};

let now = 0;
let playing = 0;
const views = []; // functions of a step, each of which shows a part of its layers
const markers = []; // functions that show where in time it is

const add = (parent, tag, className = "", text = "") => {
  const node = parent.appendChild(document.createElement(tag));
  if (className) node.className = className;
  if (text !== "") node.textContent = text;
  return node;
};

const keyOf = ({ key }) => Object.entries(key).map((pair) => `${pair.join(" ")}, `).join("");
const said = (step) => {
  const x = step.x.slice(0, 6).map(exact);
  const named = columns.length ? x.map((value, i) => `${columns[i]} = ${value}`) : [`x = ${x.join(" ")}`];
  return `${keyOf(step)}t = ${step.t}, ${named.join(", ")}${step.x.length > 6 ? ", …" : ""}`;
};

const show = (at) => {
  now = Math.min(steps.length - 1, Math.max(0, at));
  const step = steps[now];
  $("slider").value = now;
  // A screen reader says the slider's value itself; a page that plays would never be silent.
  $("now").ariaLive = playing || document.activeElement === $("slider") ? "off" : "polite";
  $("slider").setAttribute("aria-valuetext", said(step));
  $("now").textContent = said(step) + (steps.length > 1 ? ` (step ${now + 1} of ${steps.length})` : "");
  $("remark").textContent = step.note ?? "";
  $("remark").hidden = !step.note;
  $("layers").hidden = !step.layers.length;
  for (const mark of markers) mark();
  if (step.layers.length) for (const view of views) view(step);
};

// All steps of some values: a column a step, a row a unit.
const strip = (parent, name, read) => {
  if (steps.length === 1 || !taken.length) return;
  const rows = steps.map((step) => (name === "h" || step.layers.length ? read(step) : null));
  const units = read(taken[0]).length;
  const scale = largest(rows) || 1;
  const words = `${name} over time, a row a unit, colours from -${brief(scale)} to ${brief(scale)}`;
  const figure = add(parent, "figure");
  add(figure, "figcaption", "", words);
  const frame = add(figure, "div", "frame");
  const canvas = add(frame, "canvas");
  Object.assign(canvas, { role: "img", ariaLabel: words, width: steps.length, height: units });
  canvas.style.height = `${Math.min(96, Math.max(14, 8 * units))}px`;
  const image = new ImageData(steps.length, units);
  rows.forEach((row, t) =>
    row?.forEach((value, unit) =>
      image.data.set([...colour(value, scale), 255], 4 * (unit * steps.length + t)),
    ),
  );
  canvas.getContext("2d").putImageData(image, 0, 0);
  steps.forEach((step, t) => {
    if (!t || keyOf(step) === keyOf(steps[t - 1])) return;
    add(frame, "div", "edge").style.left = `${(100 * t) / steps.length}%`;
  });
  const marker = add(frame, "div", "marker");
  marker.style.width = `${100 / steps.length}%`;
  markers.push(() => (marker.style.left = `${(100 * now) / steps.length}%`));
  canvas.addEventListener("click", ({ offsetX }) =>
    show(Math.floor((offsetX / canvas.clientWidth) * steps.length)),
  );
};

const addTable = (node, caption, heads, flow = "") => {
  const title = add(node, "p", "title");
  add(title, "code", "", caption);
  add(title, "span", "flow", ` ${flow}`);
  const scroll = add(node, "div", "scroll");
  Object.assign(scroll, { tabIndex: 0, role: "region", ariaLabel: caption });
  const table = add(scroll, "table", heads.length > SMALL ? "" : "small");
  table.dataset.title = caption;
  const line = add(add(table, "thead"), "tr");
  for (const head of ["", ...heads]) add(line, head ? "th" : "td", "", head).title = head;
  return table;
};

const named = (prefix, size) => Array.from({ length: size }, (_, unit) => `${prefix}_${unit}`);

const addRow = (section, body, name, size, sign = "", className = "") => {
  const line = add(body, "tr", className);
  line.dataset.name = name;
  const head = add(line, "th");
  head.scope = "row";
  if (sign) add(head, "span", "sign", sign);
  const label = add(head, "span", "", name);
  const cells = Array.from({ length: size }, () => add(line, "td"));
  section?.rows.push(cells);
  cells.forEach((cell, unit) =>
    cell.addEventListener("click", () => section?.choose(section.chosen === unit ? null : unit, size)),
  );
  return { head, label, cells };
};

const fill = (cells, values, scale) => {
  cells.forEach((cell, unit) => {
    cell.title = exact(values[unit]);
    const short = cells.length > SMALL || cell.className === "factor";
    cell.textContent = short ? brief(values[unit]) : cell.title;
    paint(cell, values[unit], scale);
  });
};

// A row of numbers that change with time.
const addValues = (section, body, name, read, scale, sign, className) => {
  const row = addRow(section, body, name, read(taken[0]).length, sign, className);
  views.push((step) => fill(row.cells, read(step), scale));
  return row;
};

// The rows of a matrix above its product, each behind the value that it is multiplied by.
const addMatrix = (section, body, product, label, read) => {
  const [vector, name] = product.split(" @ ");
  const matrix = section.matrices[name];
  const scale = Math.max(1, largest(taken.map(read)));
  const build = () => {
    const factors = matrix.map((row, k) => {
      const { head, cells } = addRow(section, body, `${vector}[${k}]`, row.length);
      fill(cells, row, section.weights);
      return add(head, "span", "factor");
    });
    views.push((step) => factors.forEach((node, k) => fill([node], [read(step)[k]], scale)));
  };
  label.textContent = `${vector} @ `;
  const button = add(label, "button", "", name);
  const open = (opened) => {
    if (opened && !body.rows.length) build();
    body.hidden = !opened;
    button.setAttribute("aria-expanded", opened);
  };
  button.addEventListener("click", () => [open(body.hidden), show(now)]);
  open(Math.max(matrix.length, matrix[0].length) <= SMALL);
};

// A quantity: the matrices, the terms, their sum, and what the function makes of it.
const addQuantity = (section, q, prefix, flow) => {
  const { first, read, matrices, sums } = section;
  const { name, equation, terms, values, function: f } = first.quantities[q];
  const of = (step) => read(step).quantities[q];
  const title = name === equation ? name : `${name} = ${equation}`;
  const table = addTable(section.node, title, named(prefix, values.length), flow);
  const one = terms.length === 1; // it is the sum, or the value
  const shown = terms.filter((term) => !one || f || term.name.split(" @ ")[1] in matrices);
  shown.forEach((term, k) => {
    const body = add(table, "tbody", "matrix");
    const ofTerm = (step) => of(step).terms[k].values;
    const { label } = addValues(section, add(table, "tbody"), term.name, ofTerm, sums, k ? "+" : "");
    if (term.name.split(" @ ")[1] in matrices) {
      addMatrix(section, body, term.name, label, (step) => of(step).terms[k].left);
    }
  });
  const last = add(table, "tbody");
  if (f && !one) addValues(section, last, "sum", (step) => of(step).sum, sums, "=");
  const result = (step) => of(step).values;
  const scale = largest(taken.map(result)) > 1 ? sums : 1;
  const { cells } = addValues(section, last, name, result, scale, f ? "→" : shown.length ? "=" : "", "value");
  views.push((step) => {
    const { saturated = [], sum } = of(step);
    for (const cell of cells) cell.classList.remove("upper", "lower");
    for (const unit of saturated) cells[unit].classList.add(sum[unit] > 0 ? "upper" : "lower");
  });
};

// "b_h[i]" and "W_xh[i]" by the unit, and in a matrix by the row: "b_h[i_5]", "W_xh[3, i_5]".
const withUnit = (name, unit, row = "") =>
  name.replace(/\b(W\w*|b_h|b_n|b|w_ch)\b(?:\[(\w)\])?/, (_, array, gate) =>
    `${array}[${row}${gate ? `${gate}_` : ""}${unit}]`,
  );

const termsOf = ({ matrices }, quantity, unit) => {
  const product = (name, left, right) => ({
    text: `${name} = ${exact(left)} × ${exact(right)}`,
    value: Number((left * right).toPrecision(8)),
  });
  const terms = quantity.terms.flatMap(({ name, values, left, right }) => {
    const [vector, W] = name.split(" @ ");
    const ofRow = (factor, k) =>
      product(`${vector}[${k}] ${withUnit(W, unit, `${k}, `)}`, factor, matrices[W][k][unit]);
    if (W in matrices) return left.map(ofRow);
    if (right) return [product(withUnit(name, unit), left[unit], right[unit])];
    return [{ text: withUnit(name, unit), value: values[unit] }];
  });
  if (quantity.function && terms.length > 1) {
    terms.push({ text: "sum", value: quantity.sum[unit], made: "made" });
  }
  return [...terms, { text: quantity.name, value: quantity.values[unit], made: "made" }];
};

const addChoice = (section, choice, lists, prefix) => {
  const select = add(choice, "select");
  select.ariaLabel = `Unit of ${section.node.ariaLabel}`;
  const size = section.first.quantities.at(-1).values.length;
  add(select, "option", "", "all").value = "";
  named(prefix, size).forEach((name, unit) => (add(select, "option", "", name).value = unit));
  const view = (step) =>
    lists.forEach((list, q) => {
      const quantity = section.read(step).quantities[q];
      list.hidden = section.chosen === null || quantity.values.length !== section.size;
      list.replaceChildren();
      if (list.hidden) return;
      list.setAttribute("aria-label", `Terms of ${quantity.name}, unit ${section.chosen}`);
      const terms = termsOf(section, quantity, section.chosen);
      const most = Math.max(...terms.map(({ value }) => Math.abs(value))) || 1;
      for (const { text, value, made } of terms) {
        const bar = add(add(list, "li", made, `${text} = ${exact(value)}`), "span");
        bar.style.width = `${(100 * Math.abs(value)) / most}%`;
        bar.style.background = `rgb(${value < 0 ? negative : positive})`;
      }
    });
  const mark = (cells) => {
    const at = cells.length === section.size ? section.chosen : null;
    cells.forEach((cell, unit) => cell.classList.toggle("chosen", unit === at));
  };
  views.push(view, () => section.rows.forEach(mark));
  section.choose = (unit, of = size) => {
    Object.assign(section, { chosen: unit, size: of });
    select.value = of === size ? (unit ?? "") : "";
    show(now);
  };
  select.addEventListener("change", () => section.choose(select.value === "" ? null : Number(select.value)));
};

const addCell = (node, index, number, read, alone) => {
  const first = read(taken[0]);
  const matrices = weights[index][number];
  const every = taken.flatMap((step) => read(step).quantities);
  const rows = every.flatMap((q) => [...q.terms.map((term) => term.values), q.sum, q.values]);
  const section = {
    ...{ node, first, read, matrices, rows: [], chosen: null, size: 0 },
    sums: Math.max(1, largest(rows)),
    weights: Math.max(1, largest(Object.values(matrices).flat())),
  };
  const states = Object.keys(first.inputs).slice(1).map((name) => `${name[0]}_t`);
  const shown = first.direction ? states : ["y_t"];
  for (const name of shown.filter((state) => !(alone && state === "h_t"))) {
    strip(node, name, (step) => read(step).quantities.find((each) => each.name === name).values);
  }
  const choice = add(node, "label", "", "Unit ");
  const legend = add(node, "p", "legend");
  const scales = { "within 1": 1, "products and sums": section.sums, weights: section.weights };
  for (const [name, scale] of Object.entries(scales)) {
    const part = add(legend, "span", "", `${name}: -${brief(scale)}`);
    add(part, "span");
    part.append(brief(scale));
  }
  for (const [name, values] of Object.entries(first.inputs)) {
    const from = name.match(/\{(.+)\}/)?.[1];
    const flow = from ? `↓ flows in from step ${from}` : name === "x_t" ? "↓ flows in" : "";
    const inner = from || index || !columns.length;
    const heads = inner ? named(from ? name[0] : "x", values.length) : columns;
    const input = (step) => read(step).inputs[name];
    const body = add(addTable(node, name, heads, flow), "tbody");
    addValues(from && section, body, name, input, Math.max(1, largest(taken.map(input))), "", "value");
  }
  const after = first.direction === "backward" ? "t-1" : "t+1";
  const prefix = first.direction ? "h" : "y";
  const lists = first.quantities.map(({ name }, q) => {
    const flows = first.direction && shown.includes(name);
    addQuantity(section, q, prefix, flows ? `↓ flows out to step ${after}` : "");
    return add(node, "ol", "terms");
  });
  addChoice(section, choice, lists, prefix);
  if (wanted?.[0] === index + 1 && [null, number].includes(wanted[1])) section.choose(wanted[2]);
};

const addLayer = ({ layer: number, title, cells, merge }, index) => {
  const node = add($("layers"), "section");
  const of = (step) => step.layers[index];
  node.ariaLabel = add(node, "h2", "", `Layer ${number}: ${title}`).textContent;
  const recurrent = taken[0].layers.filter((each) => each.cells[0].direction);
  cells.forEach(({ direction }, n) => {
    const read = (step) => of(step).cells[n];
    const section = add(node, "section");
    section.ariaLabel = `Layer ${number}${direction ? `, ${direction}` : ""}`;
    if (merge || taken.some((step) => read(step).t)) {
      const heading = add(section, "h3");
      views.push((step) => (heading.textContent = direction + (read(step).t ? `, final state: t = ${read(step).t}` : "")));
    }
    addCell(section, index, n, read, !merge && recurrent.at(-1).layer === number);
  });
  if (!merge) return;
  const output = (step) => of(step).output;
  const heads = named("h", of(taken[0]).output.length);
  const body = add(addTable(node, `output = ${merge} of both`, heads, "↓ flows out"), "tbody");
  addValues(null, body, "output", output, Math.max(1, largest(taken.map(output))), "", "value");
};
const play = (on) => {
  clearInterval(playing);
  playing = on ? setInterval(() => (now < steps.length - 1 ? show(now + 1) : play(false)), 500) : 0;
  $("play").textContent = on ? "Stop" : "Play";
};
$("play").addEventListener("click", () => {
  if (!playing && now === steps.length - 1) show(0);
  play(!playing);
});
$("back").addEventListener("click", () => show(now - 1));
$("on").addEventListener("click", () => show(now + 1));
$("slider").addEventListener("input", () => show($("slider").valueAsNumber));
document.addEventListener("keydown", (event) => {
  const { key, target, altKey, ctrlKey, metaKey, shiftKey } = event;
  const to = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: steps.length - 1 }[key];
  const region = target.closest(".scroll");
  const scrolls = region && region.scrollWidth > region.clientWidth;
  if (to === undefined || scrolls || target.matches("input, select") || altKey || ctrlKey || metaKey || shiftKey) return;
  event.preventDefault(); // a window with a wide table would scroll, too
  show(to);
});
dark.addEventListener("change", () => location.reload());

$("wait").remove();
$("time").hidden = false;
for (const node of document.querySelectorAll(".several")) node.hidden = steps.length === 1;
$("slider").max = steps.length - 1;
$("slider").style.setProperty("--steps", steps.length);
strip($("overview"), "h", (step) => step.h);
taken[0]?.layers.forEach(addLayer);
show(0);
