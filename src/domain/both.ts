/** Both at once, and neither still at work when one has failed. Rejects with the first failure, the left one first. */
export async function both<A, B>(first: Promise<A>, second: Promise<B>): Promise<readonly [A, B]> {
  await Promise.allSettled([first, second]);
  return Promise.all([first, second]);
}
