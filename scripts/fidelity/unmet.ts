/** Rules that the model does not meet, or that no test can prove, each with the reason. Empty at best. */
export const UNMET: Readonly<Record<string, string>> = {}
