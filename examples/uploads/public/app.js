"use strict";

const form = document.querySelector("#upload");
const sending = document.querySelector("#sending");
const files = document.querySelector("#files");
const most = Number(form.dataset.most);

/** Sends a file by a PUT of its own. fetch() does not tell how much is sent; XMLHttpRequest does. */
function send(file) {
  const line = document.createElement("li");
  const bar = document.createElement("progress");
  const words = document.createElement("span");
  line.append(file.name, " ", bar, " ", words);
  sending.append(line);
  const failed = (why) => {
    bar.remove();
    line.className = "failed";
    words.textContent = why;
  };
  if (file.size > most) { // the server says so, too; this saves the way
    failed(`is larger than ${most.toLocaleString("en")} bytes`);
    return Promise.resolve();
  }
  return new Promise((done) => {
    const request = new XMLHttpRequest();
    request.upload.addEventListener("progress", ({ loaded, total }) => {
      bar.max = total;
      bar.value = loaded;
      words.textContent = `${Math.floor(100 * loaded / Math.max(1, total))} %`;
    });
    request.addEventListener("loadend", () => {
      if (request.status === 201) {
        show(JSON.parse(request.responseText), request.getResponseHeader("Location"));
        line.remove();
      } else {
        failed(request.status ? request.responseText.trim() : "the connection was lost");
      }
      done();
    });
    request.open("PUT", `/files/${encodeURIComponent(file.name)}`);
    request.send(file);
  });
}

/** One more line in the list. Names are set as text: they are never read as HTML. */
function show({ name, size }, address) {
  const line = document.createElement("li");
  const link = document.createElement("a");
  link.href = address;
  link.textContent = name;
  line.append(link, ` ${size.toLocaleString("en")}`);
  files.append(line);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const chosen = [...form.elements.files.files];
  form.reset();
  sending.replaceChildren();
  for (const file of chosen) await send(file); // one after the other: each has the whole line
});
