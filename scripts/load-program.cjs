'use strict';
const path = require('node:path');
const vm = require('node:vm');

/**
 * Runs one part of the program, and what it asks for as `agent:daemon`. `directory`: where the parts would lie as files. `read`: a
 * part's bytes by its name. `mode`: '' or 'run.'; code depends on the flags it was compiled under, and those of the daemon differ.
 * `onScript`: told the name and the script of each part. Returns what the part exports.
 */
function loadProgram(name, { directory, read, mode, require, onScript }) {
  const file = path.join(directory, name);
  // Made with another version of Node.js it is refused, and compiled here.
  let cachedData;
  try {
    cachedData = read(`${name}.${mode}cache`);
  } catch {}
  const script = new vm.Script(read(name).toString('latin1'), {
    filename: file,
    cachedData,
    importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  });
  if (onScript) onScript(name, script);
  const module = { exports: {} };
  let daemon;
  const requirePart = (id) => {
    if (id !== 'agent:daemon') return require(id);
    daemon ??= loadProgram('agent.daemon.js', { directory, read, mode, require, onScript });
    return daemon;
  };
  const url = require('node:url').pathToFileURL(file).href;
  script.runInThisContext()(module.exports, Object.assign(requirePart, require), module, file, directory, url);
  return module.exports;
}

module.exports = { loadProgram };
