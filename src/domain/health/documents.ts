import type { DiscoveryDocument } from '../instances/discovery.ts';
import type {
  ConfigurationHealth,
  HealthDocument,
  InstallationDocument,
  InstancesDocument,
  ModelsDocument,
  ReadyDocument,
} from './health.ts';

/** Immutable answers, made when something changed and served as they are: a health request never waits. */
export interface Documents {
  readonly installation: InstallationDocument;
  readonly models: ModelsDocument;
  readonly instances: InstancesDocument;
  readonly health: HealthDocument;
  readonly ready: ReadyDocument;
  readonly discovery: DiscoveryDocument;
  readonly configuration: ConfigurationHealth;
  /** The jumps of the clock until then, all together. */
  readonly clockShiftMs: number;
}
