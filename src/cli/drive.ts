import type { InputSource } from '../linux/fs/host-stream.ts'
import type { ProgramHost } from './program-host.ts'
import { EXIT_FAILURE } from './report.ts'
import { describeState } from './state.ts'

export interface DriveOptions {
  /** Instructions of host and guests together. */
  readonly maxInstructions: number
}

export type RunEnd =
  | { readonly kind: 'exited'; readonly status: number }
  /** Stopped from outside, or nothing can run any more: `code` is our exit code. */
  | { readonly kind: 'stopped'; readonly because: string; readonly code: number; readonly state: string }

/** A slice should last about this long, so that Ctrl-C and input are looked at often enough. */
const SLICE_MS = 8
const EXIT_INTERRUPTED = 130

/** Runs the host in slices until its first program ends, and looks after signals and input in between. */
export async function drive(host: ProgramHost, stdin: InputSource, options: DriveOptions): Promise<RunEnd> {
  const { kernel, machine } = host
  let interrupted = false
  const interrupt = () => {
    interrupted = true
  }
  process.on('SIGINT', interrupt)
  const input = new InputPump(stdin)
  try {
    let slice = 200_000
    for (;;) {
      const left = options.maxInstructions - machine.retired
      if (left <= 0) return stopped(host, `stopped after ${machine.retired} instructions (--max-instructions)`, EXIT_FAILURE)
      const started = performance.now()
      const end = kernel.runSlice(Math.min(slice, left))
      if (end.state === 'exited') return { kind: 'exited', status: end.status }
      if (interrupted) return stopped(host, 'interrupted', EXIT_INTERRUPTED)
      if (end.state === 'stuck') return stopped(host, 'every task sleeps and nothing will wake one', EXIT_FAILURE)
      const took = performance.now() - started
      slice = Math.max(10_000, Math.min(100_000_000, Math.round((slice * SLICE_MS) / Math.max(took, 0.5))))
      if (end.state === 'waiting') await input.more()
      else await new Promise((resolve) => setImmediate(resolve))
    }
  } finally {
    process.off('SIGINT', interrupt)
    input.close()
  }
}

function stopped(host: ProgramHost, because: string, code: number): RunEnd {
  return { kind: 'stopped', because, code, state: describeState(host) }
}

/** Reads standard input only once a program waits for it. */
class InputPump {
  private readonly source: InputSource
  private started = false
  private wake: () => void = () => {}

  constructor(source: InputSource) {
    this.source = source
  }

  /** Resolves when there is more input, or soon. */
  async more(): Promise<void> {
    if (!this.started) {
      this.started = true
      process.stdin.on('data', (chunk: Buffer) => {
        this.source.push(new Uint8Array(chunk))
        this.wake()
      })
      process.stdin.on('end', () => {
        this.source.end()
        this.wake()
      })
    }
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, 100)
      this.wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  close(): void {
    if (this.started) process.stdin.destroy()
  }
}
