// Start Pyodide, lay a folder of this machine under /lab, run its browser.py, and print what that returns.
import { loadPyodide } from "pyodide";

const [folder] = process.argv.slice(2);
const python = await loadPyodide();
python.FS.mkdir("/lab");
python.FS.mount(python.FS.filesystems.NODEFS, { root: folder }, "/lab");
python.runPython("import sys; sys.dont_write_bytecode = True; sys.path.insert(0, '/lab')");
process.stdout.write(python.runPython("import browser; browser.told()"));
