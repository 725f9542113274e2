import { describe, expect, it } from 'vitest';
import { modelsCode } from '../../../../src/api/health.ts';
import { modelsVerdict } from '../../../../src/cli/commands/health/verdict.ts';
import type { ModelStatus } from '../../../../src/domain/health/health.ts';
import { known, unknown } from '../../../../src/domain/observed.ts';
import { modelsLayer, summarizeModels } from '../../../../src/plan/health/summary.ts';
import { NOW } from '../../../support/machine/builders.ts';

const model = (state: ModelStatus['state'], path = `${state}.safetensors`): ModelStatus => ({
  path,
  state,
  sizeBytes: null,
  requiredBy: ['static-models.json'],
  reason: null,
});

/** Fine is only what was seen to be: document, layer, HTTP status and exit code say the same. */
describe('required models', () => {
  it.each([
    { what: 'were not looked at yet', models: unknown('not looked yet'), status: 'unknown', layer: 'unknown', http: 503, exit: 3 },
    { what: 'are none', models: known([]), status: 'pass', layer: 'pass', http: 200, exit: 0 },
    { what: 'are there', models: known([model('present')]), status: 'pass', layer: 'pass', http: 200, exit: 0 },
    {
      what: 'cannot be read',
      models: known([model('present'), model('unknown')]),
      status: 'unknown',
      layer: 'unknown',
      http: 503,
      exit: 3,
    },
    { what: 'are missing', models: known([model('present'), model('missing')]), status: 'fail', layer: 'fail', http: 503, exit: 3 },
    {
      what: 'are missing or unreadable',
      models: known([model('unknown'), model('missing')]),
      status: 'fail',
      layer: 'fail',
      http: 503,
      exit: 3,
    },
    { what: 'are corrupt', models: known([model('corrupt')]), status: 'fail', layer: 'fail', http: 503, exit: 3 },
  ])('that $what: $status, $http', ({ models, status, layer, http, exit }) => {
    const document = summarizeModels(true, models, NOW);
    expect(document.status).toBe(status);
    expect(modelsLayer(document).status).toBe(layer);
    expect([modelsCode(document), modelsVerdict(document)]).toEqual([http, exit]);
    expect(document.reason === null).toBe(status === 'pass');
  });

  it('are nobody’s concern while ComfyUI is switched off', () => {
    const document = summarizeModels(false, unknown('not looked yet'), null);
    expect([document.status, modelsCode(document), modelsVerdict(document)]).toEqual(['disabled', 200, 0]);
  });
});
