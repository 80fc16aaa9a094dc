/**
 * The modelled host kernel hit something it cannot continue from: what a real one prints as an oops. The task that was running
 * dies; the program that runs the model goes on and can look at it.
 */
export class HostOops extends Error {
  readonly rule: string
  readonly detail: string

  constructor(message: string, rule: string, detail: string) {
    super(message)
    this.rule = rule
    this.detail = detail
  }
}
