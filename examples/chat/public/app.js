"use strict";

const FIRST_PAUSE = 500, LONGEST_PAUSE = 15000; // milliseconds before a lost connection is tried again
const LINES = 500; // that are kept in the page

const entrance = document.querySelector("#entrance");
const inside = document.querySelector("#inside");
const lines = document.querySelector("#lines");
const say = document.querySelector("#say");
const state = document.querySelector("#state");
const where = document.querySelector("#where");

let socket = null;
let place = null; // {who, room} while we want to be somewhere
let pause = FIRST_PAUSE;
let timer = 0;

/** Opens the WebSocket of our room; as long as we want to be there, again and again. */
function connect() {
  const url = new URL(`/rooms/${encodeURIComponent(place.room)}`, location.href);
  url.protocol = "wss:";
  url.searchParams.set("name", place.who);
  const own = socket = new WebSocket(url);
  state.textContent = "connecting …";
  own.addEventListener("open", () => {
    pause = FIRST_PAUSE;
    state.textContent = "connected";
  });
  own.addEventListener("message", (event) => show(JSON.parse(event.data)));
  own.addEventListener("close", () => {
    if (socket !== own) return; // we left
    state.textContent = "connection lost; trying again …";
    timer = setTimeout(connect, pause * (0.5 + Math.random() / 2)); // not all pages at once
    pause = Math.min(2 * pause, LONGEST_PAUSE);
  });
}

/** One more line. What people write, and their names, are set as text: they are never read as HTML. */
function show({ kind, name, text }) {
  const line = document.createElement("li");
  line.className = kind;
  const who = document.createElement("b");
  who.textContent = name;
  line.append(who, kind === "said" ? `: ${text}` : ` ${kind}`);
  lines.append(line);
  if (lines.children.length > LINES) lines.firstChild.remove();
  line.scrollIntoView({ block: "nearest" });
}

function enter(who, room) {
  place = { who, room };
  sessionStorage.setItem("place", JSON.stringify(place)); // of this tab: a reload comes back
  lines.replaceChildren();
  where.textContent = room;
  entrance.hidden = true;
  inside.hidden = false;
  connect();
}

function leave() {
  clearTimeout(timer);
  sessionStorage.removeItem("place");
  const left = socket;
  socket = place = null;
  left.close(1000);
  where.textContent = "";
  entrance.hidden = false;
  inside.hidden = true;
}

entrance.addEventListener("submit", (event) => {
  event.preventDefault();
  const { who, room } = entrance.elements;
  enter(who.value.trim(), room.value.trim());
});

say.addEventListener("submit", (event) => {
  event.preventDefault();
  if (socket.readyState !== WebSocket.OPEN) return; // the text stays where it is
  socket.send(say.elements.text.value);
  say.reset();
});

document.querySelector("#leave").addEventListener("click", leave);

const before = JSON.parse(sessionStorage.getItem("place"));
if (before) enter(before.who, before.room);
