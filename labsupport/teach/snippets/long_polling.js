// Long polling: the server holds the question. Two questions begin at least a second apart unless there was news.
let position = null, failures = 0;
while (!signal.aborted) {
  const asked = performance.now();
  let wait_s = 0;
  try {
    const since = position === null ? "" : "&since=" + position;
    const limit = AbortSignal.timeout(40_000);                   // longer than any hold: a dead line ends here
    const answer = await fetch(url + "/messages?wait=25" + since, {signal: limit});
    if (answer.status === 410) position = null;                  // too old: begin afresh
    if (!answer.ok) throw new Error("status " + answer.status);  // or it would spin
    const body = await answer.json();
    for (const message of body.messages) show(message.data);
    position = body.position;
    failures = 0;
    if (!body.messages.length) wait_s = Math.max(0, 1 - (performance.now() - asked) / 1000);
  } catch {
    wait_s = Math.random() * Math.min(30, 2 ** failures++);
  }
  await new Promise(done => setTimeout(done, 1000 * wait_s));
}
