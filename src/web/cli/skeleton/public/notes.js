const list = document.getElementById("notes");

async function show() {
  const { notes } = await (await fetch("/api/notes")).json();
  list.replaceChildren(...notes.map(({ text }) => {
    const item = document.createElement("li");
    item.textContent = text; // never innerHTML: it is what others wrote
    return item;
  }));
}

document.getElementById("add").addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = JSON.stringify(Object.fromEntries(new FormData(event.target)));
  await fetch("/api/notes", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  event.target.reset();
  await show();
});

await show();
