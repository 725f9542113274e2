'use strict';
/** `node compile.cjs FILE ARG…`: runs the bundle as the launcher does, and writes what was compiled to FILE.cache when it ends. */
const fs = require('node:fs');
const path = require('node:path');
const vm = require('node:vm');

const [file, ...argv] = process.argv.slice(2);
const script = new vm.Script(fs.readFileSync(file, 'latin1'), {
  filename: file,
  importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
});
process.on('exit', () => fs.writeFileSync(`${file}.cache`, script.createCachedData()));
process.argv = [process.argv[0], path.join(path.dirname(file), 'agent.cjs'), ...argv];
script.runInThisContext()(exports, require, module, file, path.dirname(file), require('node:url').pathToFileURL(file).href);
