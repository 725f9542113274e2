'use strict';
/**
 * `node compile.cjs DIRECTORY MODE ARG…`: runs the program as the launcher does, and writes what was compiled of each part that
 * has no such file yet when it ends.
 */
const fs = require('node:fs');
const path = require('node:path');
const v8 = require('node:v8');
const { loadProgram } = require('./load-program.cjs');

const [directory, mode, ...argv] = process.argv.slice(2);
const scripts = new Map();
// What ran once, at the start, would be dropped again before the end; the flag is part of what a cache is checked against.
v8.setFlagsFromString('--no-flush-bytecode');
process.on('exit', () => {
  v8.setFlagsFromString('--flush-bytecode');
  for (const [name, script] of scripts) {
    const file = path.join(directory, `${name}.${mode}cache`);
    if (!fs.existsSync(file)) fs.writeFileSync(file, script.createCachedData());
  }
});
process.argv = [process.argv[0], path.join(directory, 'agent.cjs'), ...argv];
loadProgram('agent.cli.js', {
  directory,
  mode,
  require,
  read: (name) => fs.readFileSync(path.join(directory, name)),
  onScript: (name, script) => scripts.set(name, script),
});
