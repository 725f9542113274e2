#!/usr/bin/env node
'use strict';
/**
 * Becomes dist/agent.cjs, and the start of the single executable. Compiling the program is most of the time of a short command:
 * it is compiled once, at build time, and loaded with that code. PM2's daemon, which lives for months, gets a file with only
 * PM2. Kept to old syntax: it is also what an old Node.js meets first.
 */
let path;
/** null: this is not the single executable. */
let sea = null;

const NEEDED = 24;
const argv = process.argv.slice(2);
/** What lives for months beside programs that need the memory: a large young generation buys it nothing. */
const SMALL = ['--max-semi-space-size=1', '--disable-sigusr1'];
/** PM2's daemon does little but wait and pass on output: without optimised code it has 6 MB less at rest and 30 MB less in a flood. */
const SMALLEST = ['--max-semi-space-size=1', '--v8-pool-size=1', '--lite-mode', '--disable-sigusr1'];

// At SIGUSR1 Node.js opens its inspector, which runs code for whoever reaches the port; SIGUSR2 would end the process. The
// flag above holds until this line does.
for (const signal of ['SIGUSR1', 'SIGUSR2']) process.on(signal, () => undefined);

if (argv.length === 1 && (argv[0] === '--version' || argv[0] === '-V')) process.stdout.write(`comfylet ${__AGENT_VERSION__}\n`);
else start();

/** The version is told before anything is loaded. */
function start() {
  path = require('node:path');
  sea = executable();
  if (Number(process.versions.node.split('.')[0]) < NEEDED) useOwnNode();
  else if (argv[0] === '__upgrade-guard' && isWatched()) process.exitCode = 0;
  else if (argv[0] === '__pm2-daemon') become(SMALLEST, runPm2);
  else if (argv[0] === 'run') become(SMALL, runMain);
  else runMain();
}

function executable() {
  try {
    const found = require('node:sea');
    return found.isSea() ? found : null;
  } catch {
    return null;
  }
}

/** What the build put beside this file, or into the executable. */
function read(name) {
  return sea === null ? require('node:fs').readFileSync(path.join(__dirname, name)) : Buffer.from(sea.getRawAsset(name));
}

/**
 * The command that upgrades lives and minds this start of the agent, so the guard has nothing to do: known without the rest of
 * the program, since the agent is away meanwhile.
 */
function isWatched() {
  try {
    const fs = require('node:fs');
    const { by } = JSON.parse(fs.readFileSync('/var/lib/comfylet-upgrade/upgrade.json', 'utf8'));
    const stat = fs.readFileSync(`/proc/${by.pid}/stat`, 'utf8');
    // The name before may hold anything; its start is the 22nd field.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] === by.startTicks;
  } catch {
    return false;
  }
}

/** Becomes the same program with these flags; V8 heeds them only in part once it runs, and malloc not at all. */
function become(flags, then) {
  const isSo = flags.every((flag) => process.execArgv.includes(flag)) && process.env.MALLOC_ARENA_MAX !== undefined;
  // Started by another daemon, over a channel that does not survive the change.
  if (isSo || process.execve === undefined || process.channel) {
    // Read by malloc at the start, and no concern of what is run from here.
    if (isSo && process.env.MALLOC_ARENA_MAX === '1') delete process.env.MALLOC_ARENA_MAX;
    return then();
  }
  const program = sea === null ? [...process.execArgv, ...flags, __filename] : [`--node-options=${flags.join(' ')}`];
  try {
    process.execve(process.execPath, [process.argv0, ...program, ...argv], { MALLOC_ARENA_MAX: '1', ...process.env });
  } catch {
    // It only needs more memory then.
    then();
  }
}

/** The loader with which the bundle may import is called experimental, on stderr, in every process that does. */
function silenceLoader() {
  const { emitWarning } = process;
  process.emitWarning = (warning, ...rest) => {
    if (!String(warning).includes('USE_MAIN_CONTEXT_DEFAULT_LOADER')) emitWarning.call(process, warning, ...rest);
  };
}

function runMain() {
  silenceLoader();
  const { loadProgram } = require('./load-program.cjs');
  loadProgram('agent.cli.js', {
    directory: sea === null ? __dirname : path.dirname(process.execPath),
    mode: argv[0] === 'run' ? 'run.' : '',
    read,
    require,
  });
}

function runPm2() {
  silenceLoader();
  const vm = require('node:vm');
  const file = path.join(__dirname, 'agent.pm2.js');
  const end = (code) => process.exit(code);
  const loaded = { exports: {} };
  const wrapper = vm.compileFunction(read('agent.pm2.js').toString('utf8'), ['exports', 'require', 'module', '__filename', '__dirname'], {
    filename: file,
    importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  });
  wrapper(loaded.exports, require, loaded, file, __dirname);
  loaded.exports.runPm2Daemon({ pm2Home: process.env.PM2_HOME || '' }).then(end, (error) => {
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
