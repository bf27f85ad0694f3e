"use strict";

const list = document.querySelector("#todos");
const form = document.querySelector("#new");
const problem = document.querySelector("#problem");
const template = document.querySelector("#todo");

/** Asks the API. What it refuses is thrown, in its own words (problem+json). */
async function ask(method, path, body) {
  const answer = await fetch("/api/todos" + path, {
    method,
    headers: { Accept: "application/json" },
    body: body && JSON.stringify(body),
  });
  if (answer.status === 204) return null;
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.detail ?? value.title);
  return value;
}

/** Runs what a click or key asked for, and shows what was wrong. */
async function attempt(action) {
  try {
    problem.textContent = "";
    await action();
  } catch (error) {
    problem.textContent = error.message;
  }
}

/** One to-do of the list. Its text is set as text: what people write is never read as HTML. */
function item(todo) {
  const line = template.content.cloneNode(true).querySelector("li");
  const box = line.querySelector("input");
  const show = (done) => {
    box.checked = done;
    line.classList.toggle("done", done);
  };
  line.querySelector("span").textContent = todo.title;
  show(todo.done);
  box.addEventListener("change", () =>
    attempt(async () => {
      const wanted = box.checked;
      show(!wanted); // until it is stored
      show((await ask("PATCH", `/${todo.id}`, { done: wanted })).done);
    }));
  line.querySelector("button").addEventListener("click", () =>
    attempt(async () => {
      await ask("DELETE", `/${todo.id}`);
      line.remove();
    }));
  return line;
}

const loaded = attempt(async () => list.replaceChildren(...(await ask("GET", "")).map(item)));

form.addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    await loaded; // it replaces the list
    list.append(item(await ask("POST", "", { title: form.elements.title.value.trim() })));
    form.reset();
  });
});
