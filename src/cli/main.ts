import { ExitCode } from '../domain/errors/registry.ts';
import type { CliHost } from './host.ts';

/**
 * The command line: picks the verb, runs it, and answers with the exit code. Never throws and never ends the process.
 * The version is told before anything else is loaded.
 */
export async function runCli(argv: readonly string[], host: CliHost): Promise<ExitCode> {
  const [first] = argv;
  if (argv.length === 1 && (first === '--version' || first === '-V')) {
    host.stdout.write(`comfylet ${host.version.agent}\n`);
    return ExitCode.done;
  }
  if (argv.length === 1 && first === 'version') {
    const { versionText } = await import('./render/version.ts');
    host.stdout.write(versionText(host.version));
    return ExitCode.done;
  }
  const { runProgram } = await import('./program.ts');
  return runProgram(argv, host);
}
