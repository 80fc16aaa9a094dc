import { RateLimit } from './rate-limit.ts'

/** The modelled host's kernel log (dmesg). */
export class KernelLog {
  readonly lines: string[] = []
  private readonly seen = new Set<string>()
  private readonly limits = new Map<string, RateLimit>()
  private readonly now: () => number
  /** Called for each new line. */
  onLine: (line: string) => void = () => {}
  /** Called for a line that goes to the console of every real machine: an oops. */
  onEmergency: (line: string) => void = () => {}

  constructor(now: () => number) {
    this.now = now
  }

  write(text: string): void {
    const seconds = (this.now() / 1e9).toFixed(6).padStart(12)
    const line = `[${seconds}] ${text}`
    this.lines.push(line)
    if (this.lines.length > 4096) this.lines.shift()
    this.onLine(line)
  }
  emergency(text: string): void {
    this.write(text)
    this.onEmergency(this.lines[this.lines.length - 1])
  }
  warn(text: string): void {
    this.write(text)
  }
  /** One of the kernel's rate-limited lines: ten in five seconds for each `site`, what is more is not printed. */
  rateLimited(site: string, text: string): void {
    let limit = this.limits.get(site)
    if (limit === undefined) this.limits.set(site, (limit = new RateLimit(this.now, 5e9, 10)))
    if (limit.allow()) this.write(text)
  }
  warnOnce(text: string): void {
    this.once(text, text)
  }
  /** The first line of `site` only, whatever later ones would say (pr_warn_once). False: it was not the first. */
  once(site: string, text: string): boolean {
    if (this.seen.has(site)) return false
    this.seen.add(site)
    this.write(text)
    return true
  }
}
