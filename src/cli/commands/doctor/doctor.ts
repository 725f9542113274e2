import type { DoctorDocument } from '../../../domain/doctor/doctor.ts';
import { ExitCode } from '../../../domain/errors/registry.ts';
import { findAgent } from '../../client/connect.ts';
import type { Command, Context } from '../../context.ts';
import { doctorLines } from '../../render/doctor.ts';
import { machineEnvironment } from '../configuration/machine-environment.ts';

/** `agent doctor`: what would keep it from working, each with a remedy. Exit 1 when something fails. */
export const doctor: Command = async (context) => {
  const document = await examine(context);
  if (context.json) context.printJson(document);
  else context.print(doctorLines(document, context));
  return document.ok ? ExitCode.done : ExitCode.failed;
};

/** With a configuration that does not parse nobody can say where an agent would be: that too is for the doctor. */
async function examine(context: Context): Promise<DoctorDocument> {
  const connection = await findAgent(context).catch(() => null);
  if (connection !== null) return connection.agent.doctor();
  return context.host.doctor(context.selection, machineEnvironment(context) ?? undefined);
}
