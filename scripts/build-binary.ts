import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { sbomOf } from './sbom.ts';

/**
 * `npm run build:binary`: makes `dist/agent`, one file for a machine without Node.js, with `dist/agent.sbom.json` and
 * `dist/SHA256SUMS` beside it. `--arch arm64` makes `dist/agent-linux-arm64` with the Node.js of that package; it is
 * inspected and not run. Needs `dist/` as `npm run build` makes it, and `strip` of binutils to be small.
 *
 * The same sources give the same bytes but for the code that was compiled ahead: what of it a run happens to have compiled when
 * it ends differs. `--no-code-cache` leaves it out: then all bytes are the same, and every start takes longer. `--dist DIR --out FILE`: of
 * another bundle, to another place.
 */

const root = resolve(import.meta.dirname, '..');
const { values } = parseArgs({
  options: {
    arch: { type: 'string', default: 'x64' },
    out: { type: 'string' },
    dist: { type: 'string' },
    'no-code-cache': { type: 'boolean', default: false },
  },
});
const dist = resolve(values.dist ?? join(root, 'dist'));
const FUSE = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2';
const LIMIT_BYTES = 130e6;
/** e_machine of the ELF header. */
const MACHINES: Readonly<Record<string, number>> = { x64: 0x3e, arm64: 0xb7 };
const STRIPS: Readonly<Record<string, readonly string[]>> = {
  x64: ['strip', 'x86_64-linux-gnu-strip', 'llvm-strip'],
  arm64: ['aarch64-linux-gnu-strip', 'llvm-strip'],
};
/** sha512 of the npm package, so that the bytes do not depend on where it comes from. */
const ARM64_INTEGRITY = 'FpJRPEz2OvvTLfjIOlNGFY9JLPMKgl5m+d4oGYBLg24kJ1mmvN1Zl/HPJgF4HDaJ51ISev1l1cRZ/DM+keXW5g==';

const arch = values.arch;
const machine = MACHINES[arch];
if (machine === undefined) throw new Error(`--arch is x64 or arm64, not ${arch}`);
const target = resolve(values.out ?? join(dist, arch === 'x64' ? 'agent' : `agent-linux-${arch}`));
const work = join(tmpdir(), `comfylet-binary-${process.pid}`);

/** The Node.js that becomes the program. */
function baseNode(): Buffer {
  if (arch === 'x64') return readFileSync(process.execPath);
  const name = `node-linux-${arch}-${process.versions.node}.tgz`;
  execFileSync('npm', ['pack', '--silent', '--pack-destination', work, `node-linux-${arch}@${process.versions.node}`], { stdio: 'ignore' });
  const archive = readFileSync(join(work, name));
  const digest = createHash('sha512').update(archive).digest('base64');
  if (digest !== ARM64_INTEGRITY) throw new Error(`${name} is not the pinned one: sha512-${digest}`);
  execFileSync('tar', ['-xzf', join(work, name), '-C', work]);
  return readFileSync(join(work, 'package/bin/node'));
}

/** Symbols are a seventh of the file, and nobody debugs V8 on a GPU machine. @returns whether they could be left out */
function strip(file: string): boolean {
  return (STRIPS[arch] ?? []).some((tool) => spawnSync(tool, ['--strip-unneeded', file], { stdio: 'ignore' }).status === 0);
}

function assets(): Record<string, string> {
  const files = readdirSync(join(dist, 'assets'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  // Compiled code belongs to one processor.
  const parts = ['agent.cli.js', 'agent.daemon.js'];
  const caches = arch === 'x64' && !values['no-code-cache'] ? parts.flatMap((name) => [`${name}.cache`, `${name}.run.cache`]) : [];
  const code = [...parts, 'agent.pm2.js', ...caches].map((name) => join(dist, name)).filter((file) => existsSync(file));
  return Object.fromEntries([...code, ...files].map((file) => [file.slice(dist.length + 1), file]));
}

function inspect(bytes: Buffer): void {
  if (bytes.readUInt32BE(0) !== 0x7f454c46 || bytes.readUInt16LE(18) !== machine) throw new Error(`${target} is no program for ${arch}`);
  if (!bytes.includes(`${FUSE}:1`)) throw new Error(`${target} would start as a bare Node.js`);
}

const started = performance.now();
rmSync(work, { recursive: true, force: true });
mkdirSync(work, { recursive: true });
try {
  const config = join(work, 'sea.json');
  const blob = join(work, 'agent.blob');
  writeFileSync(
    config,
    JSON.stringify({
      main: join(dist, 'agent.cjs'),
      output: blob,
      disableExperimentalSEAWarning: true,
      // The start is a page; what is large brings its own compiled code.
      useCodeCache: false,
      useSnapshot: false,
      // NODE_OPTIONS of whoever calls it are not for this program; its own flags come by --node-options.
      execArgvExtension: 'cli',
      // The second is what the daemon runs under: a unit that sets MALLOC_ARENA_MAX spares it a start of its own.
      execArgv: ['--no-deprecation', '--max-semi-space-size=1', '--disable-sigusr1'],
      assets: assets(),
    }),
  );
  execFileSync(process.execPath, ['--experimental-sea-config', config], { stdio: ['ignore', 'ignore', 'inherit'] });
  const file = join(work, 'agent');
  writeFileSync(file, baseNode(), { mode: 0o755 });
  if (!strip(file)) console.error(`note: no strip for ${arch} was found; the file is larger than it has to be`);
  // It warns of each note of a stripped file; whether it did its work is seen below.
  const postject = join(root, 'node_modules/postject/dist/cli.js');
  execFileSync(process.execPath, [postject, file, 'NODE_SEA_BLOB', blob, '--sentinel-fuse', FUSE], { stdio: 'ignore' });
  const bytes = readFileSync(file);
  inspect(bytes);
  // Never over a file that runs, and whole for whoever reads or builds it meanwhile.
  const place = (path: string, content: Buffer | string, mode: number): void => {
    writeFileSync(`${path}.${process.pid}.new`, content, { mode });
    renameSync(`${path}.${process.pid}.new`, path);
  };
  place(target, bytes, 0o755);
  const sbom = `${target}.sbom.json`;
  const listed = sbomOf(root, dist, arch);
  place(sbom, listed, 0o644);
  const sums = (
    [
      [target, bytes],
      [sbom, listed],
    ] as const
  ).map(([path, content]) => `${createHash('sha256').update(content).digest('hex')}  ${basename(path)}`);
  place(target === join(dist, 'agent') ? join(dist, 'SHA256SUMS') : `${target}.SHA256SUMS`, `${sums.join('\n')}\n`, 0o644);
  const size = bytes.length;
  console.log(`${target}: ${(size / 1e6).toFixed(1)} MB in ${((performance.now() - started) / 1_000).toFixed(1)} s`);
  if (size > LIMIT_BYTES) console.error(`note: more than ${LIMIT_BYTES / 1e6} MB`);
} finally {
  rmSync(work, { recursive: true, force: true });
}
