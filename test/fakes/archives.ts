import { createHash } from 'node:crypto';
import { AgentError } from '../../src/domain/errors/errors.ts';
import type { Archives } from '../../src/ports/archives.ts';
import type { Files } from '../../src/ports/files.ts';

type Member = readonly [name: string, content: string];

/** Archives in memory: a list of names and texts. */
export function createFakeArchives(files: Pick<Files, 'readText' | 'writeText' | 'exists'>): Archives {
  return {
    create: async (file, index, members, { onProgress } = {}) => {
      if (await files.exists(file)) throw new AgentError('COMMAND_FAILED', `${file} could not be written: it is there already`);
      const all: Member[] = [[index.name, index.text]];
      for (const { name, path } of members) {
        const text = await files.readText(path);
        if (text === null) throw new AgentError('COMMAND_FAILED', `${file} could not be written: there is no ${path}`);
        onProgress?.(Buffer.byteLength(text));
        all.push([name, text]);
      }
      await files.writeText(file, JSON.stringify(all), 0o600);
    },
    extract: async (file, index, expect, { onProgress } = {}) => {
      const invalid = (why: string): AgentError => new AgentError('BUNDLE_INVALID', `${file}: ${why}`);
      const archive = await files.readText(file);
      if (archive === null) throw new AgentError('FILE_UNREADABLE', `${file} does not exist`);
      const [first, ...rest] = JSON.parse(archive) as Member[];
      if (first?.[0] !== index.name) throw invalid(`it does not begin with ${index.name}`);
      const expected = expect(first[1]);
      for (const [place, { name, path, sizeBytes, sha256 }] of expected.entries()) {
        const [found, text] = rest[place] ?? [null, ''];
        if (found === null) throw invalid(`${name} is missing`);
        if (found !== name) throw invalid(`it holds ${JSON.stringify(found)} where ${index.name} has ${name}`);
        if (Buffer.byteLength(text) !== sizeBytes) throw invalid(`${name} has ${Buffer.byteLength(text)} bytes in place of ${sizeBytes}`);
        const digest = createHash('sha256').update(text).digest('hex');
        if (digest !== sha256) throw invalid(`${name} has sha256 ${digest} in place of ${sha256}`);
        await files.writeText(path, text, 0o600);
        onProgress?.(name, sizeBytes, sizeBytes);
      }
      if (rest.length > expected.length)
        throw invalid(`it holds ${JSON.stringify(rest[expected.length]?.[0])}, which ${index.name} does not name`);
    },
  };
}
