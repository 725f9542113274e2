import { ExitCode } from '../../../domain/errors/registry.ts';
import type { HealthDocument, InstallationDocument, ModelsDocument } from '../../../domain/health/health.ts';
import type { InstanceDocument } from '../../../domain/instances/instance.ts';

/** Whether a document counts as fine: the rule of the HTTP status codes (200 or 503), as exit codes 0 and 3. */

const verdict = (fine: boolean): ExitCode => (fine ? ExitCode.done : ExitCode.unhealthy);

/** Healthy, disabled on purpose, or degraded while enough instances serve. */
export const healthVerdict = ({ status, ready }: HealthDocument): ExitCode =>
  verdict(status === 'healthy' || status === 'disabled' || (status === 'degraded' && ready));

export const instanceVerdict = ({ ready, status }: InstanceDocument): ExitCode => verdict(ready || status === 'disabled');

export const installationVerdict = ({ ok }: InstallationDocument): ExitCode => verdict(ok);

export const modelsVerdict = ({ status }: ModelsDocument): ExitCode => verdict(status === 'pass' || status === 'disabled');
