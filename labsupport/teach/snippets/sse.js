// Server-Sent Events: the browser comes back by itself, until a status ends it for good. Then make a new one.
let place = "", failures = 0, source;
function take(event, messages) {
  place = event.lastEventId;
  failures = 0;
  for (const message of messages) show(message);
}
function connect() {
  source = new EventSource(url + "/events?last_event_id=" + encodeURIComponent(place));
  source.onmessage = event => take(event, [JSON.parse(event.data)]);
  source.addEventListener("snapshot", event => take(event, JSON.parse(event.data).messages.map(each => each.data)));
  source.onerror = () => {
    if (source.readyState !== EventSource.CLOSED || signal.aborted) return;   // it tries again by itself
    setTimeout(connect, 1000 * Math.random() * Math.min(30, 2 ** failures++));
  };
}
connect();
await new Promise(stopped => signal.addEventListener("abort", stopped));
source.close();
