import type { InputSource } from '../linux/fs/host-stream.ts'
import { InputPump } from './input-pump.ts'
import type { Output } from './output.ts'
import type { ProgramHost } from './program-host.ts'
import { EXIT_FAILURE, EXIT_INTERRUPTED } from './report.ts'
import { describeState } from './state.ts'

export interface DriveOptions {
  /** Instructions of host and guests together. */
  readonly maxInstructions: number
  readonly stdin: InputSource
  readonly outputs: readonly Output[]
}

export type RunEnd =
  | { readonly kind: 'exited'; readonly status: number }
  /** Stopped from outside, or nothing can run any more: `code` is our exit code. */
  | { readonly kind: 'stopped'; readonly because: string; readonly code: number; readonly state: string }

/** A slice lasts about this long, so that Ctrl-C, input and output are looked at often enough. */
const SLICE_MS = 8
/** Instructions of the first slice, and of a slice at least. */
const LEAST = 5000

/** Runs the host in slices until its first program ends, and looks after signals, input and output in between. */
export async function drive(host: ProgramHost, options: DriveOptions): Promise<RunEnd> {
  const { kernel, machine } = host
  const { stdin, outputs, maxInstructions } = options
  const input = new InputPump(stdin)
  let interrupted = false
  const interrupt = () => {
    // The first asks; whoever asks twice does not want to wait.
    if (interrupted) process.exit(EXIT_INTERRUPTED)
    interrupted = true
    input.interrupt()
    for (const output of outputs) output.interrupt()
  }
  process.on('SIGINT', interrupt)
  const stopped = (because: string, code: number): RunEnd => ({ kind: 'stopped', because, code, state: describeState(host) })
  // The kernel looks at the clock every few ten thousand instructions; code that has to be compiled first is slower than that allows for.
  let size = LEAST
  try {
    for (;;) {
      const left = maxInstructions - machine.retired
      if (left <= 0) return stopped(`stopped after ${machine.retired} instructions (--max-instructions)`, EXIT_FAILURE)
      const started = performance.now()
      const before = machine.retired
      const enough = () => performance.now() > started + SLICE_MS || outputs.some((output) => output.backlogged)
      const end = kernel.runSlice(Math.min(left, size), enough)
      const perMs = (machine.retired - before) / Math.max(0.01, performance.now() - started)
      size = Math.max(LEAST, Math.min(size * 8, Math.round(perMs * SLICE_MS * 2)))
      if (end.state === 'exited') return { kind: 'exited', status: end.status }
      if (interrupted) return stopped('interrupted', EXIT_INTERRUPTED)
      if (end.state === 'stuck') return stopped('every task sleeps and nothing will wake one', EXIT_FAILURE)
      if (end.state === 'waiting') await waitForInput(host, input, end.until)
      else await new Promise((resolve) => setImmediate(resolve))
      for (const output of outputs) if (!interrupted) await output.room()
    }
  } finally {
    process.off('SIGINT', interrupt)
    input.close()
  }
}

/** Virtual time stands still while input is awaited; if none comes before the next timer is due, time passes up to it. */
async function waitForInput({ kernel }: ProgramHost, input: InputPump, until: number): Promise<void> {
  const came = await input.more((until - kernel.clock.now) / 1e6)
  if (!came && until !== Number.POSITIVE_INFINITY) kernel.clock.skipTo(until)
}
