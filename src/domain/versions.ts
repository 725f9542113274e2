/** Apart from the schemas, which the command line does not load. */

/** In every answer of the API: the version of the agent that gave it. */
export const VERSION_HEADER = 'x-agent-version';

/** Of everything below the state directory: raised with each change of its files or its database. */
export const STATE_VERSION = 1;
