// The page of `rnn explain`: each step of a run as strips of colour, a column a unit.
// What the data is, and what is left out of it, page.py says.

const $ = (id) => document.getElementById(id);

const inflated = async (id) => {
  const packed = Uint8Array.from(atob($(id).textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
};

const load = async () => {
  const planes = await inflated("numbers");
  const size = Number($("numbers").dataset.bytes);
  const count = planes.length / size;
  const bytes = planes.map((_, i) => planes[(i % size) * count + Math.floor(i / size)]);
  const numbers = size === 4 ? new Float32Array(bytes.buffer) : new Float64Array(bytes.buffer);
  const text = new TextDecoder().decode(await inflated("steps"));
  const row = (_, value) =>
    Number.isInteger(value?.at) ? numbers.subarray(value.at, value.at + value.n) : value;
  return JSON.parse(text, row);
};

const { steps, weights, columns, single, unit } = await load();

// ---- The numbers

// A typed array rounds what is put into it, as the run does.
const times = (left, right) => left.map((value, i) => value * right[i]);
const plus = (left, right) => left.map((value, i) => value + right[i]);

// In a final state a backward cell stands at the first step, and has an input of its own.
const inputOf = (layer, cell) => cell.input ?? layer.input;

// The vectors that the terms of a cell are made of, by their names.
const vectors = (layer, cell) => {
  const named = { x_t: inputOf(layer, cell) };
  const before = cell.direction === "backward" ? "t+1" : "t-1";
  for (const [name, values] of Object.entries(cell.state ?? {})) {
    named[`${name}_{${before}}`] = values;
  }
  for (const { name, values } of cell.quantities) named[name] = values;
  return named;
};

// Products and sums that follow from other numbers are not in the file.
const complete = (layer, cell) => {
  const named = vectors(layer, cell);
  for (const quantity of cell.quantities) {
    for (const term of quantity.terms) {
      term.values ??= times(...term.name.split(" ").map((name) => named[name]));
    }
    if (quantity.function) {
      quantity.sum ??= quantity.terms.map((term) => term.values).reduce(plus);
    }
  }
};
for (const { layers } of steps) {
  for (const layer of layers) layer.cells.forEach((cell) => complete(layer, cell));
}
const taken = steps.filter(({ layers }) => layers.length); // a masked row has none

// The fewest digits that read back to the number.
const exact = (value) => {
  if (!Number.isFinite(value)) return "missing";
  let shortest = String(value);
  for (let digits = 6; single && digits < 10; digits++) {
    shortest = String(Number(value.toPrecision(digits)));
    if (Math.fround(shortest) === value) break;
  }
  const sign = Object.is(value, -0) ? "-" : "";
  return sign + shortest + (/^-?\d+$/.test(shortest) ? ".0" : "");
};

const brief = (value) => {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.0005 || size >= 10000)) return value.toExponential(0);
  return value.toFixed(size < 10 ? 3 : size < 100 ? 2 : size < 1000 ? 1 : 0);
};

const end = (scale) => String(Number(scale.toPrecision(3))); // of a scale of colours

const largest = (rows) => {
  let most = 0;
  for (const row of rows) for (const value of row || []) most = Math.max(most, Math.abs(value));
  return most;
};

// ---- Colour

let palette;
const readPalette = () => {
  const style = getComputedStyle(document.documentElement);
  palette = ["--negative", "--zero", "--positive"].map((name) =>
    style.getPropertyValue(name).trim().match(/\w\w/g).map((hex) => parseInt(hex, 16)),
  );
};

const colour = (value, scale) => {
  const share = Math.min(1, Math.abs(value) / scale) || 0;
  const end = palette[value < 0 ? 0 : 2];
  return palette[1].map((zero, i) => Math.round(zero + share * (end[i] - zero)));
};

// Black or white, whichever is read better: never under a contrast of 4.5.
const inkOn = (rgb) => {
  const [r, g, b] = rgb.map((part) => ((part / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
};

const paint = (node, value, scale) => {
  const rgb = colour(value, scale);
  node.style.background = `rgb(${rgb})`;
  node.style.color = inkOn(rgb);
};

// ---- Parts of the page

const views = []; // functions of a step, each of which shows a part of its layers
const markers = []; // functions that show where in time it is
const paints = []; // functions that colour what does not change with time
let now = 0;

const add = (parent, tag, className = "", text = "") => {
  const node = parent.appendChild(document.createElement(tag));
  if (className) node.className = className;
  if (text !== "") node.textContent = text;
  return node;
};

const key = (step) => Object.entries(step.key ?? {}).map((pair) => `${pair.join(" ")}, `).join("");
const said = (step) => {
  const x = Array.from(step.x.slice(0, 6), exact);
  const named = columns ? x.map((value, i) => `${columns[i]} = ${value}`) : [`x = ${x.join(" ")}`];
  const more = step.x.length - x.length;
  return `${key(step)}t = ${step.t}, ${named.join(", ")}${more ? ` and ${more} more` : ""}`;
};

// All steps of some values: a column a step, a row a unit.
const overTime = (parent, name, prefix, read) => {
  if (steps.length === 1) return;
  const rows = steps.map(read);
  const units = rows.find((row) => row).length;
  const scale = largest(rows) || 1;
  const figure = add(parent, "figure");
  const words = `${name} over time, ${units === 1 ? "1 unit" : `${units} units from top to bottom`}`;
  add(figure, "figcaption", "", `${words}, colours from -${end(scale)} to ${end(scale)}`);
  const frame = add(figure, "div", "frame");
  const canvas = add(frame, "canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${words}; the tables below have the values of a step`);
  canvas.width = steps.length;
  canvas.height = units;
  canvas.style.height = `${Math.min(96, Math.max(14, 8 * units))}px`;
  paints.push(() => {
    const context = canvas.getContext("2d");
    const image = context.createImageData(canvas.width, units);
    rows.forEach((row, t) =>
      Array.from(row || [], (value, unit) =>
        image.data.set([...colour(value, scale), 255], 4 * (unit * canvas.width + t)),
      ),
    );
    context.putImageData(image, 0, 0);
  });
  steps.forEach((step, t) => {
    if (t && key(step) !== key(steps[t - 1])) {
      add(frame, "div", "edge").style.left = `${(100 * t) / steps.length}%`;
    }
  });
  const marker = add(frame, "div", "marker");
  marker.style.width = `${100 / steps.length}%`;
  markers.push(() => {
    marker.style.left = `${(100 * now) / steps.length}%`;
  });
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    const part = (at, size, all) => Math.min(all - 1, Math.max(0, Math.floor((at / size) * all)));
    return [
      part(event.clientX - box.left, box.width, steps.length),
      part(event.clientY - box.top, box.height, units),
    ];
  };
  canvas.addEventListener("pointermove", (event) => {
    const [t, unit] = place(event);
    const text = `${key(steps[t])}t = ${steps[t].t}\n${prefix}${unit} = ${exact(rows[t][unit])}`;
    note(text, { left: event.clientX, top: event.clientY, bottom: event.clientY + 12 });
  });
  canvas.addEventListener("pointerleave", hideNote);
  canvas.addEventListener("click", (event) => show(place(event)[0]));
};

const note = (text, box) => {
  const node = $("note");
  node.textContent = text;
  node.hidden = false;
  const left = Math.min(box.left, innerWidth - node.offsetWidth - 8);
  const above = box.top - node.offsetHeight - 6;
  node.style.left = `${Math.max(8, left)}px`;
  node.style.top = `${above > 0 ? above : box.bottom + 6}px`;
};
const hideNote = () => {
  $("note").hidden = true;
};

// A table of a cell: a column a unit, or a column of the input, which may have a name.
const grid = (section, caption, prefix, units, flow = "", corner = "unit", names = null) => {
  const title = add(section.node, "p", "title");
  title.id = `title-${document.querySelectorAll(".title").length}`;
  add(title, "code", "", caption);
  if (flow) add(title, "span", "flow", ` ${flow}`);
  const table = add(add(section.node, "div", "scroll"), "table");
  table.setAttribute("role", "grid");
  table.setAttribute("aria-labelledby", title.id);
  const columns = add(table, "colgroup");
  add(columns, "col");
  const head = add(add(table, "thead"), "tr");
  add(head, "th", "", corner).scope = "col";
  for (let unit = 0; unit < units; unit++) {
    add(columns, "col");
    const cell = add(head, "th");
    cell.scope = "col";
    if (names) {
      add(cell, "div", "named", names[unit]).title = names[unit];
      continue;
    }
    add(cell, "span", "prefix", prefix);
    add(cell, "span", unit % 5 ? "number" : "number fifth", String(unit));
  }
  section.tables.push({ table, units });
  return table;
};

const addRow = (body, className, name, units, sign = "") => {
  const line = add(body, "tr", className);
  line.dataset.name = name;
  const head = add(line, "th");
  head.scope = "row";
  if (sign) add(head, "span", "sign", sign).setAttribute("aria-hidden", "true");
  add(head, "span", "name", name);
  const cells = Array.from({ length: units }, () => {
    const cell = add(line, "td");
    add(cell, "span", "exact");
    add(cell, "span", "brief").setAttribute("aria-hidden", "true");
    return cell;
  });
  if (!line.closest("table").querySelector("td[tabindex]")) makeStop(cells[0]);
  return { head, cells };
};

const fill = (cells, values, scale) => {
  cells.forEach((cell, unit) => {
    cell.firstChild.textContent = exact(values[unit]);
    cell.childNodes[1].textContent = brief(values[unit]);
    paint(cell, values[unit], scale);
  });
};

// A row of numbers that change with time.
const valuesRow = (body, className, name, read, scale, sign) => {
  const { head, cells } = addRow(body, className, name, read(taken[0]).length, sign);
  views.push((step) => fill(cells, read(step), scale));
  return { head, cells };
};

// ---- The layers

// What is shown of a cell, or of a layer without state: its tables, and how to read its numbers.
const sections = [];

const newSection = (parent, layer, cell) => {
  const first = taken[0].layers[layer].cells[cell];
  const section = {
    node: add(parent, "section"),
    tables: [],
    place: [layer + 1, cell],
    layer: (step) => step.layers[layer],
    read: (step) => step.layers[layer].cells[cell],
    first,
    states: Object.keys(first.state ?? {}),
    matrices: weights[layer][cell],
    chosen: null, // the unit, of so many
    units: 0,
    mark: () => {},
  };
  sections.push(section);
  return section;
};

const showLayer = (parent, index) => {
  const layer = taken[0].layers[index];
  const both = layer.cells.length > 1;
  const node = add(parent, "section");
  const heading = add(node, "h2", "", `Layer ${layer.layer}: ${layer.title}`);
  heading.id = `layer-${layer.layer}`;
  node.setAttribute("aria-labelledby", heading.id);
  layer.cells.forEach((cell, number) => {
    const section = newSection(node, index, number);
    if (both || taken.some((step) => section.read(step).t)) {
      const title = add(section.node, "h3", "", cell.direction);
      views.push((step) => {
        const { t } = section.read(step);
        title.textContent = t ? `${cell.direction}, final state: t = ${t}` : cell.direction;
      });
    }
    const alone = !both && taken[0].layers.filter((each) => each.cells[0].state).length === 1;
    showOverTime(section, alone ? ["h"] : []);
    showCell(section, index > 0);
  });
  if (both) {
    const section = newSection(node, index, 0);
    const flow = "↓ flows out";
    const table = grid(section, `output = ${layer.merge} of both`, "h_", layer.output.length, flow);
    const output = (step) => section.layer(step).output;
    const scale = Math.max(1, largest(taken.map(output)));
    valuesRow(add(table, "tbody"), "value", "output", output, scale);
  }
};

const showOverTime = ({ node, states, layer, read }, shown) => {
  for (const name of states) {
    if (shown.includes(name)) continue; // it stands at the top of the page
    const state = ({ quantities }) => quantities.find((each) => each.name === `${name}_t`).values;
    overTime(node, `${name}_t`, `${name}_`, (step) => step.layers.length && state(read(step)));
  }
  if (!states.length) {
    overTime(node, "y_t", "y_", (step) => step.layers.length && layer(step).output);
  }
};

const showCell = (section, above) => {
  const { node, first, layer, read, states } = section;
  const choice = add(node, "label", "choice", "Unit ");
  const scales = scalesOf(section);
  legend(node, scales);

  const inputAt = (step) => inputOf(layer(step), read(step));
  const input = inputAt(taken[0]);
  const flow = above ? "↓ flows in from the layer below" : "↓ flows in";
  const names = above ? null : columns;
  const x = grid(section, "x_t", "x_", input.length, flow, "column", names);
  const most = Math.max(1, largest(taken.map(inputAt)));
  valuesRow(add(x, "tbody"), "value", "x_t", inputAt, most);

  const [before, after] = first.direction === "backward" ? ["t+1", "t-1"] : ["t-1", "t+1"];
  for (const name of states) {
    const title = `${name}_{${before}}`;
    const state = (step) => read(step).state[name];
    const from = `↓ flows in from step ${before}`;
    const table = grid(section, title, `${name}_`, first.state[name].length, from);
    valuesRow(add(table, "tbody"), "value", title, state, scales.values[`${name}_t`]);
  }
  for (const [name, values] of Object.entries(first.arrays ?? {})) {
    const table = grid(section, name, "x_", values.length, "", "column", names);
    valuesRow(add(table, "tbody"), "value", name, () => values, Math.max(1, largest([values])));
  }
  const lists = first.quantities.map(({ name }, q) => {
    const flows = states.some((state) => name === `${state}_t`);
    showQuantity(section, q, scales, flows ? `↓ flows out to step ${after}` : "");
    return add(node, "ol", "terms");
  });
  letChoose(section, choice, lists);
};

// Where colours end. What functions take has one scale, so that the colours of a table add up;
// what stays within 1 has another; a quantity without a function has its own where it, or a term
// of it, does not; and the gates of an array of weights have one.
const scalesOf = ({ first, read, matrices }) => {
  const scales = { sums: 1, terms: {}, values: {}, own: {}, weights: {} };
  const ends = first.quantities.map((quantity, q) => {
    const of = (rows) => largest(taken.flatMap((step) => rows(read(step).quantities[q])));
    const inner = of(({ terms, sum }) => [...terms.map((term) => term.values), sum]);
    if (quantity.function) scales.sums = Math.max(scales.sums, inner);
    return { inner, outer: of(({ values }) => [values]) };
  });
  first.quantities.forEach((quantity, q) => {
    const { inner, outer } = ends[q];
    const own = quantity.function ? scales.sums : Math.max(1, inner, outer);
    scales.terms[quantity.name] = own;
    scales.values[quantity.name] = outer > 1 ? own : 1;
    const whose = outer > 1 ? quantity.name : `terms of ${quantity.name}`;
    if (!quantity.function && own > 1) scales.own[whose] = own;
  });
  for (const [name, matrix] of Object.entries(matrices)) {
    const [array] = name.split("[");
    scales.weights[array] = Math.max(scales.weights[array] ?? 0, largest(matrix));
  }
  return scales;
};

const legend = (parent, scales) => {
  const node = add(parent, "p", "legend");
  const show = (name, scale) => {
    const part = add(node, "span", "", `${name}: -${end(scale)}`);
    add(part, "span").setAttribute("aria-hidden", "true");
    part.append(end(scale));
  };
  if (scales.sums > 1) show("products and sums", scales.sums);
  show(scales.sums > 1 ? "what stays within 1" : "values", 1);
  for (const part of [scales.own, scales.weights]) {
    for (const [name, scale] of Object.entries(part)) show(name, scale);
  }
};

// A table of a quantity: the matrices, the terms, their sum, and what the function makes of it.
const showQuantity = (section, q, scales, flow) => {
  const { first, read, matrices } = section;
  const { name, equation, terms, values, function: f, saturated } = first.quantities[q];
  const of = (step) => read(step).quantities[q];
  const title = name === equation ? name : `${name} = ${equation}`;
  const table = grid(section, title, first.state ? "h_" : "y_", values.length, flow);
  const one = terms.length === 1; // it is the sum, or the value
  const shown = terms.filter((term) => !one || f || matrices[parts(term.name)[1]]);
  shown.forEach((term, k) => {
    const matrix = matrices[parts(term.name)[1]];
    const body = matrix && add(table, "tbody", "matrix");
    const ofTerm = (step) => of(step).terms[k].values;
    const sign = k ? "+" : "";
    const { head } = valuesRow(add(table, "tbody"), "", term.name, ofTerm, scales.terms[name], sign);
    if (matrix) {
      const factors = (step) => factorsOf(section, step, of(step).terms[k]);
      const build = () => matrixRows(section, body, term.name, matrix, factors, scales.weights);
      toggle(head, body, term.name, matrix, build);
    } else {
      views.push((step) => rename(head, of(step).terms[k].name));
    }
  });
  const last = add(table, "tbody");
  if (f && !one) valuesRow(last, "", "sum", (step) => of(step).sum, scales.terms[name], "=");
  const sign = f ? "→" : shown.length ? "=" : "";
  const result = (step) => of(step).values;
  const { cells } = valuesRow(last, "value", name, result, scales.values[name], sign);
  if (saturated) markSaturated(cells, of, f);
};

// The number of a table at which the Tab key stops.
const makeStop = (cell) => {
  cell.closest("table").querySelector("td[tabindex]")?.removeAttribute("tabindex");
  cell.tabIndex = 0;
};

// A term of a table of rows is called by the row that was looked up.
const rename = (head, name) => {
  if (head.parentNode.dataset.name === name) return;
  head.parentNode.dataset.name = name;
  head.querySelector(".name").textContent = name;
};

// A bar at the end of its function that a value lies at.
const markSaturated = (cells, read, what) => {
  views.push((step) => {
    const { saturated, sum } = read(step);
    const marked = new Set(saturated);
    cells.forEach((cell, unit) => {
      cell.classList.remove("upper", "lower");
      cell.childNodes[2]?.remove();
      if (!marked.has(unit)) return;
      cell.classList.add(sum[unit] > 0 ? "upper" : "lower");
      add(cell, "span", "unseen", ` saturated: within 0.001 of an end of ${what}`);
    });
  });
};

// ---- Matrices

// "h_{t-1} @ W_hh[i]": the vector, and the matrix.
const parts = (term) => term.match(/^(.+) @ (\S+)$/)?.slice(1) ?? [];

// A weight by its unit, and in a matrix by its row: "b_h[i_5]", "W_hh[3, i_5]".
const weightName = (array, unit, row = "") => {
  const [name, gate] = array.match(/\w+/g);
  return `${name}[${row}${gate ? `${gate}_` : ""}${unit}]`;
};

// What a matrix is multiplied by: the vector, unless the precision rounds it first.
const factorsOf = ({ layer, read }, step, term) =>
  term.left ?? vectors(layer(step), read(step))[parts(term.name)[0].replace(/^\((.+)\)$/, "$1")];

// The rows of a matrix, each behind the value that it is multiplied by.
const matrixRows = (section, body, term, matrix, factors, scales) => {
  const [left, name] = parts(term);
  const heads = matrix.map((row, k) => {
    const { head, cells } = addRow(body, "", `${left}[${k}]`, row.length);
    Object.assign(head.parentNode.dataset, { matrix: name, k });
    const label = head.querySelector(".name");
    label.textContent = `[${k}]`;
    label.prepend(add(head, "span", "left", left));
    const paintRow = () => fill(cells, row, scales[name.split("[")[0]]);
    paints.push(paintRow);
    paintRow();
    return add(head, "span", "factor");
  });
  const scale = Math.max(1, largest(taken.map(factors)));
  const view = (step) => {
    const values = factors(step);
    heads.forEach((head, k) => {
      head.textContent = brief(values[k]);
      paint(head, values[k], scale);
    });
  };
  views.push(view);
  if (steps[now].layers.length) view(steps[now]);
  section.mark();
};

// The name of a product opens and closes the matrix above it.
const toggle = (head, body, term, matrix, build) => {
  const [left, name] = parts(term);
  head.querySelector(".name").textContent = `${left} @ `;
  const button = add(head, "button", "", name);
  button.type = "button";
  button.title = `${matrix.length} rows of ${matrix[0].length} weights`;
  const open = (opened) => {
    if (opened && !body.rows.length) build();
    body.hidden = !opened;
    if (body.querySelector("td[tabindex]")) makeStop(head.nextSibling);
    button.setAttribute("aria-expanded", String(opened));
  };
  button.addEventListener("click", () => open(body.hidden));
  open(matrix.length * matrix[0].length <= 1100);
};

// ---- One unit

const letChoose = (section, choice, lists) => {
  const { first, read } = section;
  const select = add(choice, "select");
  const units = first.quantities.at(-1).values.length;
  add(select, "option", "", "all").value = "";
  for (let unit = 0; unit < units; unit++) {
    add(select, "option", "", `${first.state ? "h_" : "y_"}${unit}`).value = unit;
  }
  const view = (step) => {
    lists.forEach((list, q) => {
      const quantity = read(step).quantities[q];
      list.hidden = section.chosen === null || quantity.values.length !== section.units;
      list.replaceChildren();
      if (list.hidden) return;
      const label = `Terms of ${quantity.name}, unit ${section.chosen}, largest first`;
      list.setAttribute("aria-label", label);
      const terms = termsOf(section, step, quantity);
      for (const { name, value } of terms) {
        const bar = add(add(list, "li", "", `${name} = ${exact(value)}`), "span");
        bar.style.width = `${(100 * Math.abs(value)) / Math.abs(terms[0].value) || 0}%`;
        bar.style.background = `rgb(${palette[value < 0 ? 0 : 2]})`;
      }
    });
  };
  views.push(view);
  section.mark = () => {
    for (const { table, units } of section.tables.slice(1)) {
      for (const { cells } of table.rows) {
        const at = units === section.units && section.chosen !== null ? section.chosen + 1 : 0;
        for (let i = 1; i < cells.length; i++) cells[i].classList.toggle("chosen", i === at);
      }
    }
  };
  section.choose = (unit, of = units) => {
    Object.assign(section, { chosen: unit, units: of });
    select.value = unit ?? "";
    section.mark();
    if (steps[now].layers.length) view(steps[now]);
  };
  select.addEventListener("change", () =>
    section.choose(select.value === "" ? null : Number(select.value)),
  );
};

// The terms of the chosen unit, a product with a matrix one by one; the largest first.
const termsOf = (section, step, quantity) => {
  const { chosen: unit, matrices, layer, read } = section;
  const named = vectors(layer(step), read(step));
  const terms = quantity.terms.flatMap((term) => {
    const [left, name] = parts(term.name);
    if (matrices[name]) {
      return Array.from(factorsOf(section, step, term), (factor, k) => {
        const weight = matrices[name][k].subarray(unit, unit + 1);
        const product = `${exact(factor)} × ${exact(weight[0])}`;
        return {
          name: `${left}[${k}] ${weightName(name, unit, `${k}, `)} = ${product}`,
          value: times(weight, [factor])[0],
        };
      });
    }
    const factors = term.name.split(" ").map((factor) => named[factor]?.[unit]);
    const product = factors.length === 2 && factors.every(Number.isFinite);
    const title = term.name.replace(/\b(b_h|b_n|b|w_ch)\b(\[\w\])?/, (array) => weightName(array, unit));
    return [
      {
        name: product ? `${title} = ${factors.map(exact).join(" × ")}` : title,
        value: term.values[unit],
      },
    ];
  });
  return terms.sort((one, other) => Math.abs(other.value) - Math.abs(one.value));
};

// ---- Room: how wide a column is, and whether digits have room in it

const fit = () => {
  for (const { node, tables } of sections) {
    const room = node.clientWidth;
    const head = Math.min(190, Math.max(92, room * 0.25));
    const units = Math.max(...tables.map((table) => table.units));
    const width = Math.max(13, Math.min(150, Math.floor((room - head) / units) - 1));
    for (const { table } of tables) {
      const digits = width >= (single ? 84 : 146) ? "full" : width >= 40 ? "short" : "none";
      table.className = digits;
      table.classList.toggle("narrow", width < 34);
      table.classList.toggle("dense", width < 20);
      table.classList.toggle("tight", head < 130);
      table.querySelectorAll("col").forEach((column, i) => {
        column.style.width = `${i ? width : head}px`;
      });
    }
  }
};

// ---- Time, pointer and keys

const show = (at) => {
  now = Math.min(steps.length - 1, Math.max(0, at));
  const step = steps[now];
  $("slider").value = now;
  $("slider").setAttribute("aria-valuetext", said(step));
  const of = steps.length > 1 ? ` (step ${now + 1} of ${steps.length})` : "";
  $("now").textContent = said(step) + of;
  $("back").disabled = now === 0;
  $("on").disabled = now === steps.length - 1;
  for (const mark of markers) mark();
  $("masked").hidden = step.layers.length > 0;
  $("answer").textContent = step.note ?? "";
  $("answer").hidden = !step.note;
  layers.hidden = step.layers.length === 0;
  if (step.layers.length) for (const view of views) view(step);
  if (document.activeElement.tagName === "TD") noteAt(document.activeElement);
  else hideNote();
};

const about = (cell) => {
  const line = cell.parentNode;
  const column = line.closest("table").tHead.rows[0].cells[cell.cellIndex].textContent;
  const { name, matrix, k } = line.dataset;
  const number = matrix ? weightName(matrix, cell.cellIndex - 1, `${k}, `) : `${name}, ${column}`;
  const saturated = cell.childNodes[2]?.textContent ?? "";
  const value = cell.firstChild.textContent;
  return `${number}\n${value}${saturated && `\n${saturated.trim()}`}`;
};
const noteAt = (cell) => note(about(cell), cell.getBoundingClientRect());

const layers = $("layers");
layers.addEventListener("pointerover", ({ target }) => {
  const cell = target.closest("td");
  if (cell) noteAt(cell);
  else hideNote();
});
layers.addEventListener("pointerleave", hideNote);
layers.addEventListener("focusin", ({ target }) => {
  if (target.tagName === "TD") noteAt(target);
});
layers.addEventListener("focusout", hideNote);
layers.addEventListener("click", ({ target }) => {
  const cell = target.closest("td");
  if (!cell) return;
  focusOn(cell);
  chooseAt(cell);
});

const focusOn = (cell) => {
  makeStop(cell);
  cell.focus();
};

const chooseAt = (cell) => {
  const table = cell.closest("table");
  const section = sections.find(({ tables }) => tables.some((each) => each.table === table));
  if (section.tables[0].table === table) return; // x_t has columns of its own
  const unit = cell.cellIndex - 1;
  const units = cell.parentNode.cells.length - 1;
  section.choose(unit === section.chosen && units === section.units ? null : unit, units);
};

const moves = {
  ArrowLeft: (line, at) => [line, at - 1],
  ArrowRight: (line, at) => [line, at + 1],
  ArrowUp: (line, at) => [line - 1, at],
  ArrowDown: (line, at) => [line + 1, at],
  Home: (line) => [line, 1],
  End: (line, _, last) => [line, last],
};
layers.addEventListener("keydown", (event) => {
  const cell = event.target;
  if (cell.tagName !== "TD" || event.ctrlKey || event.altKey || event.metaKey) return;
  const lines = [...cell.closest("table").rows].filter(
    (line) => line.cells[1].tagName === "TD" && !line.parentNode.hidden,
  );
  if (moves[event.key]) {
    const line = lines.indexOf(cell.parentNode);
    const [to, at] = moves[event.key](line, cell.cellIndex, cell.parentNode.cells.length - 1);
    if (at > 0 && lines[to]?.cells[at]) focusOn(lines[to].cells[at]);
  } else if (event.key === "PageUp" || event.key === "PageDown") {
    show(now + (event.key === "PageUp" ? -1 : 1));
    $("live").textContent = `${said(steps[now])}: ${about(cell)}`;
  } else if (event.key === "Enter" || event.key === " ") chooseAt(cell);
  else return;
  event.preventDefault();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hideNote();
  if (event.target !== document.body || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "ArrowLeft") show(now - 1);
  if (event.key === "ArrowRight") show(now + 1);
});

let playing = null;
const play = (on) => {
  clearInterval(playing);
  playing = on ? setInterval(() => (now < steps.length - 1 ? show(now + 1) : play(false)), 500) : null;
  $("play").setAttribute("aria-pressed", String(on));
  $("play").textContent = on ? "Stop" : "Play";
};
$("play").addEventListener("click", () => {
  if (playing === null && now === steps.length - 1) show(0);
  play(playing === null);
});
$("back").addEventListener("click", () => show(now - 1));
$("on").addEventListener("click", () => show(now + 1));
$("slider").addEventListener("input", () => show($("slider").valueAsNumber));

const repaint = () => {
  readPalette();
  for (const each of paints) each();
  show(now);
};
const onPaper = (paper) => {
  document.documentElement.classList.toggle("paper", paper);
  repaint();
};

// ---- Begin

readPalette();
$("wait").remove();
$("time").hidden = false;
for (const node of document.querySelectorAll(".several")) node.hidden = steps.length === 1;
$("time").style.setProperty("--steps", steps.length);
$("slider").max = steps.length - 1;
overTime($("overview"), "h", "h_", (step) => step.h);
taken[0]?.layers.forEach((_, index) => showLayer(layers, index));
fit();
repaint();
for (const { place, choose } of sections) {
  if (unit?.[0] === place[0] && [null, place[1]].includes(unit[1])) choose?.(unit[2]);
}
addEventListener("resize", fit);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
addEventListener("beforeprint", () => onPaper(true));
addEventListener("afterprint", () => onPaper(false));
