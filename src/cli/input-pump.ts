import type { InputSource } from '../linux/fs/host-stream.ts'

/** More than this is not read ahead of the program. */
const AHEAD = 1 << 20

/** Feeds standard input to the modelled host, from when a program first waits for it. */
export class InputPump {
  private readonly source: InputSource
  private started = false
  private ended = false
  private wake: (input: boolean) => void = () => {}

  constructor(source: InputSource) {
    this.source = source
  }

  /** Resolves to true when there is more input, to false after `milliseconds` without, or when somebody calls `interrupt`. */
  async more(milliseconds: number): Promise<boolean> {
    this.start()
    if (this.ended) return false
    process.stdin.resume()
    let came = false
    await new Promise<void>((resolve) => {
      // A timer keeps the event loop alive, also where standard input does not.
      const timer = setTimeout(resolve, Math.min(milliseconds, 0x7fffffff))
      this.wake = (input) => {
        came = input
        clearTimeout(timer)
        resolve()
      }
    })
    this.wake = () => {}
    return came
  }

  private start(): void {
    if (this.started) return
    this.started = true
    const { stdin } = process
    stdin.on('data', (chunk: Buffer) => {
      this.source.push(new Uint8Array(chunk))
      if (this.source.available > AHEAD) stdin.pause()
      this.wake(true)
    })
    // A directory as standard input, for one, can be opened and not read: to the program it is an empty file.
    for (const event of ['end', 'error', 'close']) stdin.on(event, () => this.end())
  }

  private end(): void {
    if (this.ended) return
    this.ended = true
    this.source.end()
    this.wake(true)
  }

  interrupt(): void {
    this.wake(false)
  }

  close(): void {
    if (!this.started) return
    const { stdin } = process
    stdin.pause()
    stdin.destroy()
  }
}
