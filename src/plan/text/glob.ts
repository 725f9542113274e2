/**
 * Whether a relative path is named by a glob: `*` and `?` stay within a name, `**` spans directories, `[ab]` is one of them. A
 * glob without a slash names files of that name at any depth; one that names a directory names all below it.
 */
export function matchesGlob(glob: string, path: string): boolean {
  const trimmed = glob.replace(/^\.?\/+/, '').replace(/(?<!\/)\/+$/, '/**');
  const anywhere = trimmed.includes('/') ? trimmed : `**/${trimmed}`;
  const pattern = new RegExp(`^${toPattern(anywhere)}(?:/.*)?$`, 's');
  return pattern.test(path);
}

function toPattern(glob: string): string {
  return glob.replace(/\*\*\/|\*\*|\*|\?|\[!?[^\]/]{1,64}\]|[\\^$.|+(){}[\]]/g, (part) => {
    if (part === '**/') return '(?:.*/)?';
    if (part === '**') return '.*';
    if (part === '*') return '[^/]*';
    if (part === '?') return '[^/]';
    if (part.startsWith('[') && part.length > 1) {
      const isNegated = part.startsWith('[!') && part.length > 3;
      return `[${isNegated ? '^' : ''}${toClass(part.slice(isNegated ? 2 : 1, -1))}]`;
    }
    return `\\${part}`;
  });
}

/** A range whose ends are the wrong way round names nothing, as in a shell: its three signs name themselves. */
function toClass(signs: string): string {
  return signs.replace(/(.)-(.)|./gs, (sign, first?: string, last?: string) =>
    first !== undefined && last !== undefined && first <= last
      ? `${escaped(first)}-${escaped(last)}`
      : Array.from({ length: sign.length }, (_, at) => escaped(sign.charAt(at))).join(''),
  );
}

function escaped(sign: string): string {
  return /[\\^\]-]/.test(sign) ? `\\${sign}` : sign;
}
