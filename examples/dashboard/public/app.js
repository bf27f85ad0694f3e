"use strict";

const KEPT = 60; // samples in the line, as many as the server keeps
const HEIGHT = 20;

const state = document.querySelector("#state");
const line = document.querySelector("#line");
const fields = document.querySelectorAll("[data-name]");
const rates = [];

/** Shows a sample. Numbers are set as text, and the line by an attribute: the policy allows no inline style. */
function show(sample) {
  for (const field of fields) field.textContent = sample[field.dataset.name].toLocaleString("en");
  rates.push(sample.rate);
  if (rates.length > KEPT) rates.shift();
  const most = Math.max(1, ...rates);
  const first = KEPT - rates.length;
  line.setAttribute("points", rates.map((rate, i) => `${first + i},${HEIGHT - (HEIGHT - 1) * rate / most}`).join(" "));
}

// The browser connects anew by itself, and tells the server what it saw last: nothing is to be done here.
const source = new EventSource("/events");
source.addEventListener("open", () => state.textContent = "live");
source.addEventListener("error", () => state.textContent = "connection lost; trying again …");
source.addEventListener("sample", (event) => show(JSON.parse(event.data)));
