/** Apart from logging.ts, so that help and parsing don't load the logger. */
export const logLevels = ['debug', 'info', 'warn', 'error', 'silent'] as const
