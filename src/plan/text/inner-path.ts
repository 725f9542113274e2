/** Whether a text that others may have written names something below a directory, and nothing else. */
export const isInnerPath = (path: string): boolean =>
  !path.includes('\0') && path.split('/').every((part) => part !== '' && part !== '.' && part !== '..');

/** The same for one name in it. */
export const isInnerName = (name: string): boolean => isInnerPath(name) && !name.includes('/');
