/** Where in the kernel an oops happened, as the log of a real kernel tells it. */
export interface OopsSite {
  /** Whose instruction faulted. */
  readonly function: string
  /** In which function a WARN_ON fires before. */
  readonly warning?: string
  /** Registers that the instruction took operands from. */
  readonly registers: Readonly<Record<string, number>>
}

/**
 * The modelled host kernel hit something it cannot continue from: what a real one prints as an oops. The task that was running
 * dies; the program that runs the model goes on and can look at it.
 */
export class HostOops extends Error {
  readonly rule: string
  readonly detail: string
  readonly site: OopsSite
  /** Who called the function, innermost first. */
  readonly callers: string[] = []

  constructor(message: string, rule: string, detail: string, site: OopsSite) {
    super(message)
    this.rule = rule
    this.detail = detail
    this.site = site
  }
}

/** Adds callers to what an oops on its way up knows of its place; the error itself, to be thrown on. */
export function calledFrom(error: unknown, ...callers: string[]): unknown {
  if (error instanceof HostOops) error.callers.push(...callers)
  return error
}
