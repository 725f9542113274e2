/** In every answer of the API: the version of the agent that gave it. Apart from the schemas, which the command line does not load. */
export const VERSION_HEADER = 'x-agent-version';
