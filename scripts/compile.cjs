'use strict';
/** `node compile.cjs FILE CACHE ARG…`: runs the bundle as the launcher does, and writes what was compiled to CACHE when it ends. */
const fs = require('node:fs');
const path = require('node:path');
const v8 = require('node:v8');
const vm = require('node:vm');

const [file, cache, ...argv] = process.argv.slice(2);
const script = new vm.Script(fs.readFileSync(file, 'latin1'), {
  filename: file,
  importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
});
// What ran once, at the start, would be dropped again before the end; the flag is part of what a cache is checked against.
v8.setFlagsFromString('--no-flush-bytecode');
process.on('exit', () => {
  v8.setFlagsFromString('--flush-bytecode');
  fs.writeFileSync(cache, script.createCachedData());
});
process.argv = [process.argv[0], path.join(path.dirname(file), 'agent.cjs'), ...argv];
script.runInThisContext()(exports, require, module, file, path.dirname(file), require('node:url').pathToFileURL(file).href);
