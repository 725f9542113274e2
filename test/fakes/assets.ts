import type { Assets } from '../../src/ports/files.ts';

/** The smallest graph that gives a picture; the shipped one has the same classes. */
export const CANARY = {
  '1': { class_type: 'EmptyImage', inputs: { width: 64, height: 64, batch_size: 1, color: 0 } },
  '2': { class_type: 'PreviewImage', inputs: { images: ['1', 0] } },
};

/** Shipped files in memory. The simulator's tree lies in the fake file system, at the path named. */
export const createFakeAssets = (simulator = '/assets/simulator'): Assets => {
  const texts: Readonly<Record<string, string>> = {
    'workflows/canary.json': JSON.stringify(CANARY),
    known_hosts: '',
    'witness/sitecustomize.py': '# witness',
  };
  const text = (name: string): string => {
    const found = texts[name];
    if (found === undefined) throw new Error(`no such asset: ${name}`);
    return found;
  };
  return {
    text: async (name) => text(name),
    bytes: async (name) => new TextEncoder().encode(text(name)),
    simulator: async () => simulator,
  };
};
