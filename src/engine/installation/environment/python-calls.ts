import type { InstallContext } from '../context.ts';

/** What every call of uv is given. */
export const calls = ({ spec, wheels, signal, tracker }: InstallContext, python: string, torchBackend: string | null) => ({
  python,
  torchBackend,
  wheels,
  indexUrl: spec.python.indexUrl,
  extraIndexUrls: spec.python.extraIndexUrls,
  findLinks: spec.python.findLinks,
  signal,
  onLine: (line: string) => tracker.line(line),
});
