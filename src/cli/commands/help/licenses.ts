import { AgentError } from '../../../domain/errors/errors.ts';
import { ExitCode } from '../../../domain/errors/registry.ts';
import { ThirdParty } from '../../../domain/reports/third-party.ts';
import type { Command } from '../../context.ts';
import { table } from '../../render/table.ts';

/** What the program is made of, and under which licences; with a name, the text of that one. */
export const licenses: Command = async ({ host, json, style, print, printJson }, [name]) => {
  const all = ThirdParty.array().parse(JSON.parse(await host.asset('licenses.json')));
  const wanted = name === undefined ? all : all.filter((part) => part.name === name);
  if (wanted.length === 0)
    throw new AgentError('USAGE', `no part of the program is called "${name}"`, { help: '`agent licenses` lists them' });
  if (json) printJson(wanted);
  else if (name === undefined) {
    const columns = [{ title: 'PART', shrink: true }, { title: 'VERSION' }, { title: 'LICENCE' }];
    const rows = all.map((part) => [part.name, part.version, part.licence]);
    const [title = '', ...lines] = table(columns, rows, {
      columns: host.stdout.isTty ? host.stdout.columns : 0,
      ellipsis: style.symbols.ellipsis,
    });
    print(['comfylet is AGPL-3.0-only, and made of:', style.paint('dim', title), ...lines]);
    print('`agent licenses NAME` prints the text of one.');
  } else for (const part of wanted) print([`${part.name} ${part.version}: ${part.licence}`, '', part.text, '']);
  return ExitCode.done;
};
