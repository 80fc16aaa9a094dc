/** The modelled host's kernel log (dmesg). */
export class KernelLog {
  readonly lines: string[] = []
  private readonly seen = new Set<string>()
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
  warnOnce(text: string): void {
    if (this.seen.has(text)) return
    this.seen.add(text)
    this.write(text)
  }
}
