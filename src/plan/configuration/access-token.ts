/** Shorter ones can be guessed; `agent setup` makes 43 characters. */
export const TOKEN_LEAST = 12;
/** Of a header that any client and proxy takes. */
const TOKEN_MOST = 4_096;

/** What is wrong with a token of the API, in words that do not show it; null: nothing. */
export function tokenProblem(token: string): string | null {
  if (token === '') return 'is empty';
  if (token.length > TOKEN_MOST) return 'is too long for a token';
  if (!/^[\x21-\x7e]*$/.test(token)) return 'holds white space or a letter outside ASCII within the token, which not every client can send';
  return token.length < TOKEN_LEAST
    ? `is too short for a token: at least ${TOKEN_LEAST} characters, as \`openssl rand -base64 32\` makes them`
    : null;
}
