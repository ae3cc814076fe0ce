// WebSocket: wait for open, go on from the last position, and keep what has no ack yet.
const final = [1000, 1002, 1003, 1007, 1008, 1009, 1010, 4400, 4401, 4407];
const outbox = new Map();
let since, failures = 0, socket;
const send = message => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify(message));
function say(text) {
  const message = {type: "message", id: crypto.randomUUID(), text};
  outbox.set(message.id, message);
  send(message);
}
function connect() {
  const begun = performance.now();
  socket = new WebSocket(url.replace(/^http/, "ws") + "/chat");
  socket.onopen = () => send({type: "join", room: "tea", user: "you", since});
  socket.onmessage = ({data}) => {
    const message = JSON.parse(data);
    if (message.type === "joined") outbox.forEach(send);
    if (message.type === "ack") outbox.delete(message.id);
    if (message.type === "gap") show("some messages are lost: " + message.reason);
    if (message.type === "message") { since = message.position; show(message.text); }
  };
  socket.onclose = ({code}) => {
    if (signal.aborted || final.includes(code)) return show("closed for good: " + code);
    if (performance.now() - begun > 10_000) failures = 0;     // it was healthy, and not merely open
    setTimeout(connect, 1000 * Math.random() * Math.min(30, 2 ** failures++));
  };
}
connect();
say("hello");
await new Promise(stopped => signal.addEventListener("abort", stopped));
socket.close();
