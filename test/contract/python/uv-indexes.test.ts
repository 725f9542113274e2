import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createPythonEnvironments } from '../../../src/adapters/python/python.ts';
import { requirementLine } from '../../../src/domain/installation/lock.ts';
import { createPythonLab, execute, PLAIN } from '../../support/python/lab.ts';
import { makeWheel } from '../../support/python/wheel.ts';

const lab = await createPythonLab();
const unreachable = await lab.unreachable();
if (unreachable !== null) console.log(`skipped: uv and its indexes: ${unreachable}`);
afterAll(lab.close);

/** An index with a password that, like many mirrors, says nothing about how long its answers are good. */
describe.skipIf(unreachable !== null)('an index that is asked', () => {
  const authorization = `Basic ${Buffer.from('user:hunter@2').toString('base64')}`;
  let directory: string;
  let server: Server;
  let indexUrl: string;
  let wheels: string[];
  let asked: string[];
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'agent-index-'));
    [wheels, asked] = [[], []];
    server = createServer(async (request, response) => {
      const path = request.url ?? '';
      if (request.headers.authorization !== authorization) return response.writeHead(401, { 'www-authenticate': 'Basic' }).end();
      asked.push(path);
      const wheel = wheels.find((file) => path.endsWith(basename(file)));
      if (wheel !== undefined) return response.end(await readFile(wheel));
      const name = /^\/simple\/([^/]+)\/$/.exec(path)?.[1];
      const links = wheels.filter((file) => basename(file).startsWith(`${name}-`)).map((file) => `<a href="/f/${basename(file)}">x</a>`);
      return response.writeHead(links.length === 0 ? 404 : 200, { 'content-type': 'text/html' }).end(links.join('\n'));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    indexUrl = `http://user:hunter%402@127.0.0.1:${(server.address() as AddressInfo).port}/simple`;
  });
  afterEach(async () => {
    await new Promise((resolve) => server.close(resolve));
    await rm(directory, { recursive: true, force: true });
  });
  const publish = async (name: string, version: string) => {
    wheels.push(await makeWheel(directory, { name, version }));
  };

  it('answers once for many questions, and anew when its answers are forgotten; its password is in no file', async () => {
    await publish('alpha', '1.0');
    const cache = join(directory, 'cache');
    const python = createPythonEnvironments({ ...lab.options(), cacheDirectory: cache });
    const environment = await python.create(join(directory, 'venv'), { interpreter: 'python3', version: null, needsUv: true });
    const file = join(directory, 'requirements.txt');
    await writeFile(file, 'alpha\n');
    const resolve = async () => {
      const found = await python.resolve({
        ...PLAIN,
        indexUrl,
        python: environment,
        requirements: [{ label: 'a pack', file, within: directory }],
      });
      return found.map(requirementLine);
    };

    expect(await resolve()).toEqual(['alpha==1.0']);
    const before = asked.length;
    await publish('alpha', '2.0');
    expect(await resolve()).toEqual(['alpha==1.0']);
    expect(asked.slice(before)).toEqual([]);
    await python.forgetIndexes();
    expect(await resolve()).toEqual(['alpha==2.0']);

    // grep ends with 1 when it finds nothing.
    const { stdout } = await execute('grep', ['-rlE', 'hunter(@|%40)2', cache]).catch((error: { code: number; stdout: string }) => {
      expect(error.code).toBe(1);
      return error;
    });
    expect(stdout).toBe('');
  });
});
