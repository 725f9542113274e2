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
    if (part.startsWith('[') && part.length > 1)
      return `[${part.startsWith('[!') ? '^' : ''}${part.slice(part.startsWith('[!') ? 2 : 1, -1).replace(/[\\^\]]/g, '\\$&')}]`;
    return `\\${part}`;
  });
}
