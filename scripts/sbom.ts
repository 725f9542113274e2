import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ThirdParty } from '../src/domain/reports/third-party.ts';

interface Component {
  readonly name: string;
  readonly version: string;
  readonly 'bom-ref': string;
}

interface Bom {
  serialNumber?: string;
  metadata: { timestamp?: string; component: Record<string, unknown> };
  components: Component[];
  dependencies: { readonly ref: string; readonly dependsOn: readonly string[] }[];
}

/**
 * A CycloneDX document of what is in the executable: npm's own list, cut down to what was bundled, and Node.js. What
 * changes from run to run (a serial number, the time, addresses of archives) is left out, so that it can be reproduced.
 */
export function sbomOf(root: string, dist: string, arch: string): string {
  const text = execFileSync('npm', ['sbom', '--sbom-format', 'cyclonedx', '--package-lock-only'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const bom = JSON.parse(text) as Bom;
  const inside = ThirdParty.array().parse(JSON.parse(readFileSync(join(dist, 'assets/licenses.json'), 'utf8')));
  const names = new Set(inside.map(({ name, version }) => `${name}@${version}`));
  const node = inside.find(({ name }) => name === 'node');
  if (node === undefined) throw new Error('dist/assets/licenses.json does not name Node.js');
  const components = bom.components
    .filter(({ name, version }) => name !== 'node' && names.has(`${name}@${version}`))
    .map((component) => ({ ...component, externalReferences: undefined }));
  const missing = [...names].filter(
    (each) => each !== `node@${node.version}` && !components.some((it) => `${it.name}@${it.version}` === each),
  );
  if (missing.length > 0) throw new Error(`in the executable and not in npm's list: ${missing.join(', ')}`);
  const refs = new Set([...components.map((component) => component['bom-ref']), bom.dependencies[0]?.ref]);
  delete bom.serialNumber;
  delete bom.metadata.timestamp;
  bom.metadata.component['type'] = 'application';
  bom.metadata.component['name'] = 'comfylet';
  const runtime = {
    'bom-ref': `node@${node.version}`,
    type: 'platform',
    name: 'node',
    version: node.version,
    purl: `pkg:generic/node@${node.version}?arch=${arch}`,
    licenses: [{ license: { id: 'MIT' } }],
  };
  const dependencies = bom.dependencies
    .filter(({ ref }) => refs.has(ref))
    .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter((each) => refs.has(each)) }));
  return `${JSON.stringify({ ...bom, components: [...components, runtime], dependencies }, null, 2)}\n`;
}
