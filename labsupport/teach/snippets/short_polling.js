// Short polling: one question at a time, none alike in time, and longer waits after each failure.
const every_s = 5;
let position = null, failures = 0;
while (!signal.aborted) {
  try {
    const since = position === null ? "" : "?since=" + position;
    const answer = await fetch(url + "/messages" + since, {signal: AbortSignal.timeout(10_000)});
    if (answer.status === 410) position = null;                  // too old: begin afresh
    if (!answer.ok) throw new Error("status " + answer.status);  // fetch itself does not
    const body = await answer.json();
    for (const message of body.messages) show(message.data);
    position = body.position;
    failures = 0;
  } catch {
    failures += 1;
  }
  const wait_s = failures ? Math.random() * Math.min(30, 2 ** (failures - 1)) : every_s * (0.8 + 0.4 * Math.random());
  await new Promise(done => setTimeout(done, 1000 * wait_s));
}
