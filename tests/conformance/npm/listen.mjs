// node listen.mjs PACKAGE URL TYPE…   opens that package's EventSource and prints, one JSON object a line,
// each event of these types and each change of state. It ends with its standard input.
const [name, url, ...types] = process.argv.slice(2);

// undici 7 needs Node 20, and Debian 12 has 18
const old = name === "undici" && Number(process.versions.node.split(".")[0]) < 20;
const { EventSource } = await import(old ? "undici-6" : name);

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const source = new EventSource(url);
source.onopen = () => say({ state: "open" });
source.onerror = () => say({ state: ["connecting", "open", "closed"][source.readyState] });
for (const type of types) {
  source.addEventListener(type, (event) => say({ type: event.type, data: event.data, id: event.lastEventId }));
}
process.stdin.on("end", () => process.exit()).resume();
