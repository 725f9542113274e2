export interface Gate {
  readonly isOpen: boolean;
  /** Ends when the gate is opened; at once when it is open. */
  passed(): Promise<void>;
  open(): void;
}

/** Holds whoever comes until the test opens it: the order of things without a clock. */
export function createGate(): Gate {
  const { promise, resolve } = Promise.withResolvers<void>();
  let isOpen = false;
  return {
    get isOpen() {
      return isOpen;
    },
    passed: () => promise,
    open: () => {
      isOpen = true;
      resolve();
    },
  };
}
