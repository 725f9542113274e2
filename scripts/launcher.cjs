#!/usr/bin/env node
'use strict';
/**
 * Becomes dist/agent.cjs. The program is one large file, and compiling it is most of the time of a short command: it is
 * compiled once, at build time, and loaded with that code. PM2's daemon, which lives for months, gets a file with only PM2.
 * Kept to old syntax: it is also what an old Node.js meets first.
 */
const path = require('node:path');

const NEEDED = 24;
const argv = process.argv.slice(2);
/** The daemon lives for months beside programs that need the memory; a large young generation buys it nothing. */
const SMALL = ['--max-semi-space-size=1', '--optimize-for-size'];

if (argv.length === 1 && (argv[0] === '--version' || argv[0] === '-V')) process.stdout.write(`comfy-agent ${__AGENT_VERSION__}\n`);
else if (Number(process.versions.node.split('.')[0]) < NEEDED) useOwnNode();
else if (argv[0] === '__pm2-daemon') runPm2();
else if (argv[0] === 'run' && process.execve !== undefined && !process.execArgv.includes(SMALL[0])) runSmall();
else runMain();

/** Becomes the same program with a small heap; V8 heeds these flags only in part once it runs, and malloc not at all. */
function runSmall() {
  const environment = { MALLOC_ARENA_MAX: '1', ...process.env };
  try {
    process.execve(process.execPath, [process.argv0, ...process.execArgv, ...SMALL, __filename, ...argv], environment);
  } catch {
    // It only needs more memory then.
    runMain();
  }
}

function runMain() {
  // Read by malloc at the start, and no concern of what the agent runs.
  if (process.execArgv.includes(SMALL[0]) && process.env.MALLOC_ARENA_MAX === '1') delete process.env.MALLOC_ARENA_MAX;
  const fs = require('node:fs');
  const vm = require('node:vm');
  const file = path.join(__dirname, 'agent.main.js');
  // Made by scripts/build.ts with another version of Node.js it is refused, and the file is compiled here.
  let cachedData;
  try {
    cachedData = fs.readFileSync(`${file}.cache`);
  } catch {}
  const script = new vm.Script(fs.readFileSync(file, 'latin1'), {
    filename: file,
    cachedData,
    importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  });
  script.runInThisContext()(exports, require, module, file, __dirname, require('node:url').pathToFileURL(file).href);
}

function runPm2() {
  const end = (code) => process.exit(code);
  require('./agent.pm2.js')
    .runPm2Daemon({ pm2Home: process.env.PM2_HOME || '' })
    .then(end, (error) => {
      process.stderr.write(`${error.stack || error}\n`);
      end(1);
    });
}

/** The Node.js that npm installed with the agent. */
function useOwnNode() {
  const node = path.join(__dirname, '../node_modules/node/bin/node');
  if (!require('node:fs').existsSync(node)) {
    process.stderr.write(
      `error[USAGE]: this is Node.js ${process.versions.node}; the agent needs ${NEEDED}\nhelp: run npm ci beside it, which brings the right one\n`,
    );
    process.exit(2);
  }
  const child = require('node:child_process').spawn(node, [...process.execArgv, __filename, ...argv], { stdio: 'inherit' });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      // A terminal sends Ctrl-C to both of us.
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
    });
  }
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}
